/** A JSON document, indented. Branches beyond the first two levels are folded, and a long list shows its beginning. */
import type { VNode } from "preact"
import * as Json from "../../../Json.js"
import { useSite } from "../site.js"
import { Text } from "./Text.js"
import { Value } from "./Value.js"

export const css = `
.json{font:var(--mono);margin:0}.json ul{padding-left:var(--s4);border-left:1px solid var(--line2)}.json .k{color:var(--ink2)}.json summary{font:var(--mono);display:inline-block}.json .k+details{display:inline}
`

const isList = (value: Json.JsonValue): value is Json.JsonArray => Array.isArray(value)

const summaryOf = (value: Json.JsonArray | Json.JsonObject): string => {
  const count = isList(value) ? value.length : Object.keys(value).length
  return isList(value) ? `[ ${count} ]` : `{ ${count} }`
}

const Branch = ({ depth, value }: { readonly value: Json.JsonValue; readonly depth: number }): VNode => {
  const { room } = useSite()
  if (!isList(value) && !Json.isObject(value)) {
    return <Value value={value} />
  }
  const entries = isList(value) ? value.map((item, index) => [String(index), item] as const) : Object.entries(value)
  if (entries.length === 0) {
    return <span class="v">{isList(value) ? "[]" : "{}"}</span>
  }
  if (depth > 6) {
    return <Value value={value} />
  }
  const most = Math.max(4, room.places)
  return (
    <details open={depth < 2}>
      <summary>{summaryOf(value)}</summary>
      <ul>
        {entries.slice(0, most).map(([key, item]) => (
          <li key={key}>
            <span class="k">
              <Text text={key} limit={100} />:{" "}
            </span>
            <Branch value={item} depth={depth + 1} />
          </li>
        ))}
        {entries.length > most ? <li class="sub">and {entries.length - most} more</li> : null}
      </ul>
    </details>
  )
}

export const JsonView = ({ value }: { readonly value: Json.JsonValue }): VNode => (
  <div class="json">
    <Branch value={value} depth={0} />
  </div>
)
