"""Getting files of others: resumed, verified, recorded, locked; what `zoo` stands on."""
