/** Styles of elements, and the classes that all components share. */
export const base = `
*{box-sizing:border-box}
html{scroll-padding-top:var(--s4);-webkit-text-size-adjust:100%}
body{margin:0;font:var(--text);color:var(--ink);background:var(--paper);overflow-wrap:break-word}
a{color:inherit;text-decoration-line:underline;text-decoration-color:var(--field);text-decoration-thickness:1px;text-underline-offset:3px}
a:hover{color:var(--accent);text-decoration-color:currentColor}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
h1{font-size:21px;line-height:1.3;margin:0 0 var(--s1);letter-spacing:-.012em;font-weight:650}
h2{font-size:13px;font-weight:600;color:var(--ink2);margin:0 0 var(--s2)}
h1 code{font-size:17px;font-weight:500;letter-spacing:0}
p{margin:0 0 var(--s3)}
code,.mono{font:var(--mono)}
ul,ol{padding:0;margin:0;list-style:none}
td a,.kv a,.list a,.chips .end a,.change header a{display:inline-block;min-height:24px;line-height:24px;max-width:100%}
.sub{color:var(--ink3);font-size:var(--small)}
.dim{color:var(--ink3)}
.hide{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.end{margin-left:auto}
.cp{font:11px/1 ui-monospace,monospace;color:var(--warn);background:var(--warnw);border-radius:3px;padding:1px 3px;margin:0 1px}
input,select,button,textarea{font:inherit;font-size:14px;padding:5px 8px;height:33px;border:1px solid var(--field);border-radius:6px;background:var(--paper);color:var(--ink);min-width:0;width:100%}
button{cursor:pointer;width:auto;font-weight:500}
button:hover{border-color:var(--ink2)}
button.go{background:var(--accent);color:var(--on);border-color:transparent;font-weight:600}
a.go{display:inline-block;padding:8px 18px;border-radius:6px;background:var(--accent);color:var(--on);font-weight:600;text-decoration:none}
button.bad{background:var(--delw);color:var(--del);border-color:var(--del);font-weight:600}
button.bare{border:0;height:auto;background:none;color:var(--ink2);padding:2px 6px;min-height:24px;font-size:var(--small)}
button.bare:hover{color:var(--accent)}
::placeholder{color:var(--ink3);opacity:1}
label{display:grid;gap:2px;font-size:12px;color:var(--ink2)}
summary{cursor:pointer;color:var(--ink2)}
.save{margin:0 0 12px}
@media (prefers-reduced-motion:no-preference){:root{scroll-behavior:smooth}}
@media print{header.bar,footer,.pager,form{display:none}}
`
