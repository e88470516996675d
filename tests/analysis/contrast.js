// Texts whose contrast with what lies behind them is below 4.5, as WCAG 2.2 reckons it.
const rgb = (text) => {
  const parts = text.match(/[\d.]+/g).map(Number);
  return parts.length > 3 && parts[3] === 0 ? null : parts.slice(0, 3);
};
const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
const luminance = (colour) => {
  const [red, green, blue] = colour.map((part) => linear(part / 255));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const behind = (node) => {
  for (let one = node; one; one = one.parentElement) {
    const colour = rgb(getComputedStyle(one).backgroundColor);
    if (colour) return colour;
  }
  return [255, 255, 255];
};
const poor = new Set();
for (const node of document.querySelectorAll("body *:not(script, style, noscript, noscript *)")) {
  const says = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.textContent.trim());
  if (!says || !node.checkVisibility() || node.disabled) continue;
  const style = getComputedStyle(node), ink = rgb(node instanceof SVGElement ? style.fill : style.color);
  const [light, dark] = [luminance(ink), luminance(behind(node))].sort((a, b) => b - a);
  const contrast = (light + 0.05) / (dark + 0.05);
  if (contrast < 4.5) poor.add(`${node.tagName}.${node.getAttribute("class")}: ${contrast.toFixed(2)}`);
}
return [...poor];
