/**
 * The life of a row on a line. Each mark is a link to the row at that instant. With the script it is also a slider, for
 * the keyboard and for dragging.
 */
import type { VNode } from "preact"
import { visible } from "../visible.js"

export const css = `
.rail{display:grid;grid-template-columns:auto minmax(0,1fr) auto;gap:var(--s3) var(--s4);align-items:center;padding:var(--s2) var(--s4);border:1px solid var(--line);border-radius:var(--r);background:var(--raise);margin-bottom:var(--s4)}
.rail ol{position:relative;height:32px}.rail ol::before{content:"";position:absolute;left:0;right:0;top:15px;height:2px;background:var(--line)}
.rail li{position:absolute;top:4px;transform:translateX(-50%)}.rail li a{display:grid;place-items:center;width:24px;height:24px}.rail li a::before{content:"";width:14px;height:14px;border-radius:50%;border:2px solid var(--accent);background:var(--raise)}
.rail li.insert a::before{border-color:var(--add)}.rail li.delete a::before,.rail li.truncate a::before{border-color:var(--del);border-radius:2px;transform:rotate(45deg) scale(.85)}.rail li.schema a::before,.rail li.baseline a::before{border-color:var(--ink3);border-radius:3px}
.rail li.here{z-index:1}.rail li.here a::before{background:var(--accent);border-color:var(--accent);box-shadow:0 0 0 4px var(--wash)}
.rail li.lapse{top:11px;height:10px;transform:none;background:repeating-linear-gradient(45deg,var(--warn) 0 2px,var(--warnw) 2px 6px);border-radius:3px}
.rail.drag{cursor:grabbing}.rail .ends{grid-column:1/-1;display:flex;justify-content:space-between;color:var(--ink3);font-size:12px;margin-top:-8px}
@media(max-width:760px){.rail{grid-template-columns:1fr 1fr;padding:var(--s2) var(--s3)}.rail ol{grid-row:2;grid-column:1/-1}.rail>span:nth-of-type(2){text-align:right}.rail .ends{margin-top:-10px}}
`

export interface Mark {
  readonly kind: string
  /** Milliseconds since 1970. */
  readonly at: number
  readonly href: string
  /** What happened, and when. */
  readonly name: string
  readonly here: boolean
}

export interface Span {
  readonly from: number
  readonly to: number
  readonly name: string
}

/** Places instants in percent, half by time and half by order, so that marks within a second stay apart. */
const positionsOf = (marks: ReadonlyArray<Mark>): ((at: number) => number) => {
  const times = marks.map(({ at }) => at)
  const [first = 0, last = 0] = [times[0], times.at(-1)]
  const width = Math.max(1, last - first)
  return (at) => {
    const share = Math.min(1, Math.max(0, (at - first) / width))
    const before = times.filter((time) => time < at).length
    const rank = times.length < 2 ? 0.5 : Math.min(1, before / (times.length - 1))
    return times.length < 2 ? 50 : Math.round(20 + 960 * (0.5 * share + 0.5 * rank)) / 10
  }
}

/** The places of the marks as CSS rules, because the content security policy forbids style attributes. */
export const railStyle = (marks: ReadonlyArray<Mark>, spans: ReadonlyArray<Span>): string => {
  const position = positionsOf(marks)
  return [
    ...spans.map(({ from, to }, index) => {
      const [left, right] = [position(from), position(to)]
      return `.rail li:nth-child(${index + 1}){left:${left}%;width:${Math.max(1.5, Math.round((right - left) * 10) / 10)}%}`
    }),
    ...marks.map(({ at }, index) => {
      // Marks of one instant stand side by side.
      const same = marks.slice(0, index).filter((mark) => mark.at === at).length
      return `.rail li:nth-child(${spans.length + index + 1}){left:${Math.min(99, position(at) + same * 0.9)}%}`
    })
  ].join("")
}

export const Rail = ({
  earlier,
  first,
  last,
  later,
  marks,
  spans
}: {
  readonly marks: ReadonlyArray<Mark>
  readonly spans: ReadonlyArray<Span>
  readonly earlier: string | undefined
  readonly later: string | undefined
  readonly first: string
  readonly last: string
}): VNode => (
  <nav class="rail" aria-label="The row in time" data-rail="">
    <span>{earlier === undefined ? <span class="dim">← earlier</span> : <a href={earlier}>← earlier</a>}</span>
    <ol>
      {spans.map(({ name }) => (
        <li key={name} class="lapse" title={visible(name)}>
          <span class="hide">{visible(name)}</span>
        </li>
      ))}
      {marks.map(({ here, href, kind, name }) => (
        <li key={href} class={here ? `${kind} here` : kind}>
          <a
            href={href}
            title={visible(name)}
            aria-label={visible(name)}
            {...(here ? { "aria-current": "true" as const } : {})}
          />
        </li>
      ))}
    </ol>
    <span>{later === undefined ? <span class="dim">later →</span> : <a href={later}>later →</a>}</span>
    <span class="ends">
      <span>{first}</span>
      <span>{last}</span>
    </span>
  </nav>
)
