"""How the bundled models were made; anyone can rerun it on their own images."""
