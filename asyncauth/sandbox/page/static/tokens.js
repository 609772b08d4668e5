// The tokens that are alive, counting down, each with a button that revokes it.

import { make, write } from "./dom.js";
import { count, duration, say } from "./texts.js";

const FAREWELL = 4000; // ms that a token which is gone stays, saying so

export class Tokens {
  /** @param {(fingerprint: string) => void} revoke Called with the token that is to be revoked. */
  constructor(revoke) {
    this.revoke = revoke;
    this.rows = new Map();
    this.list = make("ul", { class: "tokens", role: "list" });
    this.none = make("p", { class: "quiet", text: "tokens.none" });
    this.more = make("p", { class: "quiet" });
    this.total = make("span", { class: "total" });
    this.hidden = 0;
    this.alive = 0;
  }

  /** Show these tokens; `lead` is how far the server's clock is ahead of the page's, in seconds. */
  show(tokens, alive, lead) {
    this.lead = lead;
    this.alive = alive;
    const overflowed = this.hidden > 0 || alive > tokens.length;
    this.hidden = Math.max(0, alive - tokens.length);
    const now = new Set(tokens.map((token) => token.fingerprint));
    for (const [fingerprint, row] of this.rows) {
      if (now.has(fingerprint) || row.gone) continue;
      // Pushed out by newer ones, it may live on: nothing is said then.
      if (overflowed && row.token.dies_at > this.now()) this.remove(fingerprint);
      else this.end(fingerprint, row);
    }
    for (const token of tokens.toReversed()) if (!this.rows.has(token.fingerprint)) this.add(token);
    this.tick();
  }

  now() {
    return performance.now() / 1000 + this.lead;
  }

  add(token) {
    const left = make("span", { class: "left" });
    const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("span"));
    const name = `${token.kind} ${token.fingerprint}`;
    const button = make(
      "button",
      { type: "button", class: "small", onclick: () => this.revoke(token.fingerprint) },
      make("span", { text: "revoke" }, say("revoke")),
      make("span", { class: "unseen" }, ` ${name}`),
    );
    const item = make(
      "li",
      {},
      make("span", { class: "kind" }, token.kind),
      make("code", {}, token.fingerprint),
      left,
      button,
      bar,
    );
    this.rows.set(token.fingerprint, { token, item, left, bar: bar.firstChild, button, gone: null });
    this.list.prepend(item);
  }

  end(fingerprint, row) {
    row.gone = row.token.dies_at <= this.now() + 0.05 ? "token.expired" : "token.revoked";
    row.item.classList.add("gone");
    if (document.activeElement === row.button) (this.successor(row.item) ?? this.list.parentElement).focus();
    row.button.disabled = true;
    setTimeout(() => this.remove(fingerprint), FAREWELL);
  }

  successor(item) {
    const next = item.nextElementSibling ?? item.previousElementSibling;
    return next?.querySelector("button:enabled");
  }

  remove(fingerprint) {
    this.rows.get(fingerprint)?.item.remove();
    this.rows.delete(fingerprint);
    this.tick();
  }

  /** Let the countdowns go on. */
  tick() {
    for (const row of this.rows.values()) {
      const left = Math.max(0, row.token.dies_at - this.now());
      const whole = row.token.dies_at - row.token.issued_at;
      write(row.left, row.gone ? say(row.gone) : duration(left < 10 ? Math.floor(left * 10) / 10 + 1e-9 : Math.floor(left)));
      row.bar.style.transform = `scaleX(${row.gone ? 0 : Math.min(1, left / whole)})`;
    }
    write(this.total, count("tokens.alive", this.alive));
    this.none.hidden = this.rows.size > 0;
    this.more.hidden = this.hidden === 0;
    if (this.hidden) write(this.more, count("tokens.more", this.hidden));
  }
}
