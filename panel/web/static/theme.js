// Light or dark: as the system says, at once when it changes, until the person chooses the other one.

const KEY = "pdpanel-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function kept() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function apply() {
  const chosen = kept();
  document.body.classList.toggle("dark", chosen ? chosen === "dark" : system.matches);
}

export const theme = {
  get dark() {
    return document.body.classList.contains("dark");
  },

  /** Shows the other one; back at what the system says, the page follows the system again. */
  toggle() {
    const dark = !this.dark;
    try {
      if (dark === system.matches) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, dark ? "dark" : "light");
    } catch {
      // A browser that keeps nothing shows it until the next load.
    }
    document.body.classList.toggle("dark", dark);
  },

  begin() {
    apply();
    system.addEventListener("change", apply);
  },

  /** Calls `listener` now and after each change, whoever made it. */
  on(listener) {
    new MutationObserver(listener).observe(document.body, { attributeFilter: ["class"] });
    listener();
  },
};
