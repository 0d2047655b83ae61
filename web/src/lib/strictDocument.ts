// xterm.js writes <style> elements and style attributes, which the pages' Content-Security-Policy forbids. It takes a
// document to make its elements with; this one makes such that do the same by allowed means (constructed style sheets,
// CSSOM), so that the policy need not be weakened for the terminal.

interface Strict {
  document: Document;
  /** Runs what opens the terminal: while it does, xterm.js makes one element with the global document too. */
  during: (act: () => void) => void;
  release: () => void;
}

export function strictDocument(): Strict {
  const sheets = new Set<CSSStyleSheet>();
  const made = Document.prototype.createElement.bind(document) as (name: string) => HTMLElement;

  function styleElement(): HTMLStyleElement {
    const element = made("template") as unknown as HTMLStyleElement; // even an empty <style> is refused
    const sheet = new CSSStyleSheet();
    sheets.add(sheet);
    document.adoptedStyleSheets.push(sheet);
    Object.defineProperty(element, "textContent", { set: (css: string) => sheet.replaceSync(css), get: () => "" });
    return element;
  }

  function plainElement(name: string): HTMLElement {
    const element = made(name);
    const original = element.setAttribute.bind(element);
    element.setAttribute = (key: string, value: string) => {
      if (key === "style") element.style.cssText = value;
      else original(key, value);
    };
    return element;
  }

  const create = (name: string) => (name === "style" ? styleElement() : plainElement(name));
  const strict = new Proxy(document, {
    get(target, key) {
      if (key === "createElement") return create;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
    set: (target, key, value) => Reflect.set(target, key, value, target),
  });
  const during = (act: () => void) => {
    Object.defineProperty(document, "createElement", { value: create, configurable: true });
    try {
      act();
    } finally {
      Reflect.deleteProperty(document, "createElement");
    }
  };
  const release = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => !sheets.has(sheet));
  };
  return { document: strict, during, release };
}
