// Orders to the sandbox. The header is what no other page can send.

import { announce } from "./dom.js";
import { say } from "./texts.js";

/**
 * Give an order; the answer, or null if it was refused, which is then announced.
 * @param {(why: string) => void} refused Called with the sandbox's own words, if it refuses.
 */
export async function order(name, body, refused = () => {}) {
  try {
    const response = await fetch(`_sandbox/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Asyncauth-Sandbox": "page" },
      body: JSON.stringify(body),
    });
    const answer = await response.json();
    if (response.ok) return answer;
    announce(say("refused", { why: answer.error }));
    refused(answer.error);
  } catch {
    announce(say("unreachable"));
  }
  return null;
}
