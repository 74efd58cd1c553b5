/** The command that gives the same answer in a terminal. */
import type { VNode } from "preact"
import { commandOf, type Question } from "../commandLine.js"
import { Copy } from "./Copy.js"

export const css = `
.cli{display:flex;gap:var(--s2);align-items:baseline;margin:var(--s4) 0 0;font:var(--mono);color:var(--ink2);background:var(--sink);border:1px solid var(--line2);border-radius:6px;padding:5px 10px;max-width:max-content;overflow-wrap:anywhere}
.cli code{flex:1;min-width:0}.cli code::before{content:"$ ";color:var(--ink3)}
`

export const Command = ({ question }: { readonly question: Question }): VNode => {
  const text = commandOf(question)
  return (
    <p class="cli">
      <code>{text}</code>
      <Copy text={text} name="the command" />
    </p>
  )
}
