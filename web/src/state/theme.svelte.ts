export type Theme = "system" | "light" | "dark";
const KEY = "skep-theme";

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system"; // a browser that keeps nothing follows the system
  }
}

class ThemeChoice {
  value = $state<Theme>(stored());

  set(value: Theme): void {
    this.value = value;
    this.show();
    try {
      if (value === "system") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, value);
    } catch {
      return; // it holds until the page is closed
    }
  }

  show(): void {
    if (this.value === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = this.value;
  }
}

export const theme = new ThemeChoice();
