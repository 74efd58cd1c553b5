/** Events of the schema as people read them. */
import type * as Query from "../src/Query.js"
import { when } from "./describe.js"
import { visible } from "./output.js"
import { layout } from "./table.js"

/** What capture did, and the reason if it is recorded. */
const effectText = ({ details, effect }: Query.SchemaEvent): string => {
  const reason = details?.["reason"] ?? details?.["gap"]
  const lapse = details?.["lapse"] === true && effect !== "lapse" ? ["a lapse"] : []
  const more = [...(typeof reason === "string" ? [reason] : []), ...lapse]
  return `${effect === "none" ? "" : effect}${more.length === 0 ? "" : ` (${more.join(", ")})`}`
}

/** The names of a renamed column do not say its table, which the object does. */
const objectText = ({ newName, object, objectType, oldName }: Query.SchemaEvent): string =>
  oldName !== null && newName !== null
    ? `${objectType} ${oldName} -> ${objectType === "table column" ? object : newName}`
    : `${objectType} ${object}`

/** One line, for the history of a row. */
export const eventLine = (event: Query.SchemaEvent): string => {
  const effect = effectText(event)
  return visible(
    `${when(event.occurredAt)}  -- ${event.command} ${objectText(event)}${effect === "" ? "" : `: ${effect}`}, by ${event.role}`
  )
}

export const eventTable = (events: ReadonlyArray<Query.SchemaEvent>, width: number): string =>
  layout(
    [
      { header: "occurred (UTC)", rigid: true },
      { header: "command", rigid: true },
      { header: "object" },
      { header: "by" },
      { header: "what capture did", whole: true }
    ],
    events.map((event) => [
      when(event.occurredAt),
      event.command,
      objectText(event),
      event.dbUser === event.role ? event.role : `${event.role} (${event.dbUser})`,
      effectText(event)
    ]),
    width
  )
