// xterm.js writes <style> elements and style attributes, which the pages' Content-Security-Policy forbids. While a
// terminal is there, elements are made such that do the same by allowed means (constructed style sheets, CSSOM), so that
// the policy need not be weakened for the terminal. (Its own way, documentOverride, does not reach all that it makes.)

/** Returns how to end it. */
export function strictElements(): () => void {
  const sheets = new Set<CSSStyleSheet>();
  const made = Document.prototype.createElement.bind(document) as (name: string) => HTMLElement;

  function styleElement(): HTMLElement {
    const element = made("template"); // even an empty <style> is refused
    const sheet = new CSSStyleSheet();
    sheets.add(sheet);
    document.adoptedStyleSheets.push(sheet);
    Object.defineProperty(element, "textContent", { set: (css: string) => sheet.replaceSync(css), get: () => "" });
    return element;
  }

  function spanElement(): HTMLElement {
    const element = made("span");
    const original = element.setAttribute.bind(element);
    element.setAttribute = (key: string, value: string) => {
      if (key === "style") element.style.cssText = value;
      else original(key, value);
    };
    return element;
  }

  const create = (name: string) => (name === "style" ? styleElement() : name === "span" ? spanElement() : made(name));
  Object.defineProperty(document, "createElement", { value: create, configurable: true });
  return () => {
    Reflect.deleteProperty(document, "createElement");
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => !sheets.has(sheet));
  };
}
