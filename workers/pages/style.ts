/** The one stylesheet and the one icon of the pages. Colours follow the system's scheme; nothing is fetched from elsewhere. */
export const stylesheet = `:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #16202c; --soft: #55616f; --line: #d9dee5; --code: #f0f2f6;
  --accent: #0b5f9e; --accent-ink: #ffffff; --good: #17733b; --bad: #a92a1e; --bad-soft: #fdf1ef;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #10151b; --card: #181f28; --ink: #e7ecf2; --soft: #a3afbd; --line: #303a46; --code: #0d1217;
    --accent: #6db8f2; --accent-ink: #08131d; --good: #6fd394; --bad: #ff9c8f; --bad-soft: #2b1a1a;
  }
}
* { box-sizing: border-box; }
html { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; background: var(--page); color: var(--ink); }
body { margin: 0; min-height: 100vh; display: flex; flex-direction: column; }
a { color: var(--accent); text-underline-offset: 3px; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 6px; }
.skip { position: absolute; left: -999px; top: 8px; padding: 8px 14px; background: var(--card); }
.skip:focus { left: 8px; }
header { border-bottom: 1px solid var(--line); background: var(--card); }
header > div, main, footer { width: 100%; max-width: 860px; margin: 0 auto; padding: 0 20px; }
header > div { display: flex; align-items: center; gap: 20px; min-height: 60px; flex-wrap: wrap; }
.brand { display: flex; align-items: center; gap: 10px; font-weight: 650; color: var(--ink); text-decoration: none; margin-right: auto; }
.brand img { width: 26px; height: 26px; }
nav { display: flex; align-items: center; gap: 18px; }
nav a, nav button { white-space: nowrap; }
nav a { color: var(--soft); text-decoration: none; padding: 6px 0; }
nav a[aria-current] { color: var(--ink); font-weight: 600; box-shadow: 0 2px 0 var(--accent); }
main { flex: 1; padding-top: 36px; padding-bottom: 48px; }
main.narrow { max-width: 480px; }
footer { padding-top: 16px; padding-bottom: 24px; color: var(--soft); font-size: 14px; overflow-wrap: anywhere; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 18px; line-height: 1.3; margin: 0; }
p { margin: 0 0 14px; }
h2.more { margin: 32px 0 12px; }
.lead { color: var(--soft); margin-bottom: 24px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px; margin: 0 0 16px; }
.card > :last-child { margin-bottom: 0; }
.title { display: flex; align-items: center; gap: 12px; flex-wrap: wrap; margin-bottom: 10px; }
.title h2 { margin-right: auto; overflow-wrap: anywhere; }
.state { display: inline-flex; align-items: center; gap: 7px; font-size: 14px; color: var(--soft); }
.state::before { content: ""; width: 9px; height: 9px; border-radius: 50%; background: var(--bad); }
.state.on { color: var(--good); }
.state.on::before { background: var(--good); }
.soft { color: var(--soft); font-size: 15px; }
.failure { border-color: var(--bad); background: var(--bad-soft); }
.failure h1 { color: var(--bad); }
pre { margin: 0 0 12px; padding: 12px 14px; background: var(--code); border: 1px solid var(--line); border-radius: 8px; overflow-x: auto; font-size: 14px; line-height: 1.6; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
form { margin: 0; }
.stack { display: grid; gap: 12px; }
.row { display: flex; gap: 10px 14px; flex-wrap: wrap; align-items: center; }
.row .soft { flex: 1 1 220px; }
form.row, pre + p { margin-bottom: 10px; }
.row input { flex: 1 1 200px; }
button, .button { font: inherit; font-weight: 600; min-height: 44px; padding: 9px 18px; border-radius: 8px; border: 1px solid var(--accent); background: var(--accent); color: var(--accent-ink); cursor: pointer; text-decoration: none; display: inline-block; text-align: center; }
button:hover, .button:hover { filter: brightness(1.08); }
button.plain, .button.plain { background: transparent; color: var(--accent); border-color: var(--line); }
button.wide { width: 100%; overflow-wrap: anywhere; }
button.link { min-height: 0; padding: 6px 0; border: 0; background: none; color: var(--soft); font-weight: 400; }
label { display: block; font-weight: 600; margin-bottom: 6px; }
input[type="text"] { font: inherit; min-height: 44px; padding: 8px 12px; border-radius: 8px; border: 1px solid var(--soft); background: var(--page); color: var(--ink); width: 100%; }
dl { display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 6px 18px; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
details summary { cursor: pointer; color: var(--accent); padding: 4px 0; width: fit-content; }
details[open] summary { margin-bottom: 8px; }
@media (max-width: 560px) {
  header > div, main, footer { padding-left: 16px; padding-right: 16px; }
  main { padding-top: 24px; }
  h1 { font-size: 23px; }
  .card { padding: 16px; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 10px; }
  header > div { padding-top: 14px; row-gap: 6px; }
  header > div:not(:has(nav)) { padding-bottom: 14px; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  nav { gap: 12px; font-size: 15px; width: 100%; padding-bottom: 10px; justify-content: space-between; }
}
@media (prefers-reduced-motion: no-preference) { button, .button { transition: filter 0.15s; } }
`;

/** A gate in a wall. */
export const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path fill="#2b7fc0" d="M3 6h5v4h4V6h8v4h4V6h5v23H3z"/><path fill="#fff" d="M11 29V19a5 5 0 0 1 10 0v10z"/></svg>
`;
