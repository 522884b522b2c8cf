// Who is signed in, with a way out; nothing on a panel that is used by its token.

import { url } from "./base.js";
import { el } from "./dom.js";
import { toast } from "./toast.js";

async function signOut() {
  try {
    await fetch(url("/logout"), { method: "POST", body: new URLSearchParams() });
  } catch {
    toast("The panel does not answer, so you are still signed in.", { tone: "bad" });
    return;
  }
  // Which is the login page now.
  location.reload();
}

/** Adds "Sign out" to `place` when a user is signed in. */
export async function account(place) {
  let user = "";
  try {
    const response = await fetch(url("/api/session"), { cache: "no-store" });
    user = response.ok ? ((await response.json()).user ?? "") : "";
  } catch {
    return;
  }
  if (!user) return;
  const button = el("button", { type: "button", class: "pd-button pd-quiet", "data-testid": "sign-out", title: `Signed in as ${user}` }, "Sign out");
  button.addEventListener("click", signOut);
  place.append(button);
}
