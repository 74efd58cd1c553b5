/** A JSON document as a tree. Branches below the first two levels are folded, and long values are cut. */
import type { VNode } from "preact"
import * as Json from "../../../Json.js"
import type { Redaction } from "../masks.js"
import { useSite } from "../site.js"
import { Text } from "./Text.js"
import { Value } from "./Value.js"

export const css = `
.json{font:var(--mono);margin:0}.json ul{padding-left:var(--s4);border-left:1px solid var(--line2)}.json .k{color:var(--ink2)}.json summary{font:var(--mono);display:inline-block}.json summary::before{content:"▸ ";color:var(--ink3)}.json details[open]>summary::before{content:"▾ "}.json .k+details{display:inline}
`

type Document = Json.JsonArray | Json.JsonObject

const isList = (value: Json.JsonValue): value is Json.JsonArray => Array.isArray(value)

const isDocument = (value: Json.JsonValue | undefined): value is Document =>
  value !== undefined && (Array.isArray(value) || Json.isObject(value))

/** Whether to show a document as a tree: it is long, and no part of it is masked. `Value` shows masked parts. */
export const isReadAsTree = (value: Json.JsonValue | undefined, mask: Redaction | undefined): boolean =>
  isDocument(value) && (mask === undefined || mask.inside.length === 0) && Json.stringify(value).length > 72

const summaryOf = (value: Document): string => {
  const count = isList(value) ? value.length : Object.keys(value).length
  return isList(value) ? `[ ${count} ]` : `{ ${count} }`
}

/** How many more lines a document may take. */
interface Lines {
  left: number
}

const Branch = ({
  depth,
  lines,
  value
}: {
  readonly value: Json.JsonValue
  readonly depth: number
  readonly lines: Lines
}): VNode => {
  const { room } = useSite()
  if (!isDocument(value)) {
    return <Value value={value} />
  }
  const entries = isList(value) ? value.map((item, index) => [String(index), item] as const) : Object.entries(value)
  if (entries.length === 0) {
    return <span class="v">{isList(value) ? "[]" : "{}"}</span>
  }
  // A short value stays on one line.
  if (depth > 6 || lines.left <= 0 || (depth > 0 && Json.stringify(value).length <= 60)) {
    return <Value value={value} limit={Math.min(room.value, 80)} />
  }
  const shown = entries.slice(0, Math.max(4, Math.min(room.places, lines.left)))
  lines.left -= shown.length
  return (
    <details open={depth < 2}>
      <summary>{summaryOf(value)}</summary>
      <ul>
        {shown.map(([key, item]) => (
          <li key={key}>
            <span class="k">
              <Text text={key} limit={100} />:{" "}
            </span>
            <Branch value={item} depth={depth + 1} lines={lines} />
          </li>
        ))}
        {entries.length > shown.length ? <li class="sub">and {entries.length - shown.length} more</li> : null}
      </ul>
    </details>
  )
}

export const JsonView = ({ value }: { readonly value: Json.JsonValue }): VNode => {
  const { room } = useSite()
  return (
    <div class="json">
      <Branch value={value} depth={0} lines={{ left: room.places * 3 }} />
    </div>
  )
}
