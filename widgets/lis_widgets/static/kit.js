// Helpers that the widgets' modules share; joined in front of them by assets.py. Nothing comes from a network.

// An element with attributes (class, role, aria-label, ...), and children: elements or texts.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const ICONS = {
  play: "M4 2.5v11l9-5.5z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  pin: "M6 1h4l-.5 5L12 9v1H8.6V15h-1.2v-5H4V9l2.5-3z",
  remove: "M3.2 4.3 4.3 3.2 8 6.9l3.7-3.7 1.1 1.1L9.1 8l3.7 3.7-1.1 1.1L8 9.1l-3.7 3.7-1.1-1.1L6.9 8z",
  reset: "M8 3a5 5 0 1 1-4.7 3.3l1.4.5A3.5 3.5 0 1 0 8 4.5V7L4.2 3.7 8 .5z",
};

// A small drawing that takes the colour of the text around it; the button says what it does.
function icon(name) {
  const holder = document.createElement("template");
  holder.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d="${ICONS[name]}"/></svg>`;
  return holder.content.firstChild;
}

function iconButton(name, label, attributes = {}) {
  const classes = `lis-icon ${attributes.class ?? ""}`.trim();
  return element("button", { ...attributes, type: "button", class: classes, title: label, "aria-label": label }, icon(name));
}

const NUDGES = 2;
const TRAVEL = 8; // ms there and back
const SLOW = 80; // ms
const SILENT = "The kernel does not answer: it is busy with another cell, or was restarted (then run this cell again).";

// Sends values that follow the hand: one message unanswered at a time, and the newest of what came since when the
// answer arrives, or after `patience` ms. So a slow kernel is never flooded, and the last value always arrives.
// When the answer is due and has not come, an empty message follows, because of TCP: the server holds a small message
// back until the browser's machine has confirmed the one before (Nagle), and the confirmation waits up to 40 ms for
// something to travel with (delayed acknowledgement). The kernel tells how long it took, so the message goes out when
// the picture is ready; an answer that is in time needs none.
//
// Silence is told in `el`: after 3 s the kernel is asked for a sign of life (a long render still gives one), after 2 s
// more an alert appears; any message takes it away.
function courier(model, el, { taken = 0, patience = 250, worry = 3000, despair = 2000 } = {}) {
  // Of the last message sent, and the last that was answered. Other views of the widget, and those before the page was
  // loaded anew, count as well: a number is above all that is known to be taken, or answers to theirs would pass for ours.
  let number = taken;
  let answered = taken;
  let waiting = null;
  let patienceTimer = 0;
  let silenceTimer = 0;
  let nudgeTimer = 0;
  let took = 15; // ms in the kernel, from the move to the picture; averaged
  let alert = null;

  function pass(content) {
    try {
      model.send(content);
    } catch (error) {
      silence(); // the kernel is gone, and its comm with it
    }
  }

  function silence() {
    if (alert) return;
    alert = element("div", { class: "lis-message lis-error", role: "alert" }, SILENT);
    el.prepend(alert);
  }

  function listen() {
    if (silenceTimer || alert) return;
    silenceTimer = setTimeout(() => {
      pass({ kind: "ping" });
      silenceTimer = setTimeout(silence, despair);
    }, worry);
  }

  function nudge(pause, left) {
    clearTimeout(nudgeTimer);
    if (left === 0 || took > SLOW) return; // a slow answer comes when all is confirmed
    nudgeTimer = setTimeout(() => {
      if (answered >= number) return;
      pass({ kind: "nudge" });
      nudge(TRAVEL, left - 1);
    }, pause);
  }

  function post() {
    const keptUp = answered >= number; // a kernel that is behind gets no more than it must
    const compose = waiting;
    waiting = null;
    number = Math.max(number, answered) + 1;
    const content = compose();
    clearTimeout(patienceTimer);
    patienceTimer = setTimeout(() => {
      patienceTimer = 0;
      if (waiting) post();
    }, patience);
    listen();
    pass({ ...content, number });
    if (keptUp) nudge(took + TRAVEL, NUDGES);
  }

  // `compose` is called when the message goes out, and returns all that came together until then.
  function send(compose) {
    waiting = compose;
    if (answered >= number || !patienceTimer) post();
  }

  function receive(message) {
    clearTimeout(silenceTimer);
    silenceTimer = 0;
    alert?.remove();
    alert = null;
    if (message?.kind === "shown") {
      answered = Math.max(answered, message.number);
      if (Number.isFinite(message.took)) took += (message.took - took) / 4;
    } else if (answered < number) {
      listen();
    }
    if (answered >= number) {
      clearTimeout(patienceTimer);
      patienceTimer = 0;
      if (waiting) post();
    }
  }

  model.on("msg:custom", receive);
  return {
    send,
    pass(content) {
      listen();
      pass(content);
    },
    get number() {
      return number;
    },
    get answered() {
      return answered;
    },
    end() {
      model.off("msg:custom", receive);
      clearTimeout(patienceTimer);
      clearTimeout(silenceTimer);
      clearTimeout(nudgeTimer);
    },
  };
}
