/**
 * Generated functions and triggers as SQL statements, each without a final semicolon.
 */
import { identifier, literal, qualified } from "../../sql/sqlText.js"
import type { Pin, RelationShape, Trigger, TriggerFunction } from "./model.js"

const settings: Record<Pin, string> = {
  timezone: "set timezone = 'UTC'",
  datestyle: "set datestyle = 'ISO, YMD'",
  intervalstyle: "set intervalstyle = 'postgres'",
  bytea_output: "set bytea_output = 'hex'",
  extra_float_digits: "set extra_float_digits = 1",
  lc_monetary: "set lc_monetary = 'C'",
  quote_all_identifiers: "set quote_all_identifiers = off"
}

/** What the catalog keeps of a function's body (`pg_proc.prosrc`). */
export const functionSource = ({ body }: TriggerFunction): string => `\n${body.join("\n")}\n`

/** A column may be named like the quotes around the body. That would end the body. */
const quoteFor = (source: string): string => {
  let quote = "$threadline$"
  for (let n = 1; source.includes(quote); n++) quote = `$threadline${n}$`
  return quote
}

/**
 * The definition of a function. A session keeps the plans of its statements, and a plan that was made for many rows may be one that is compiled
 * (`jit`): every single row after them would wait for that.
 */
const createFunction = (storageSchema: string, triggerFunction: TriggerFunction): string => {
  const source = functionSource(triggerFunction)
  const quote = quoteFor(source)
  return `create or replace function ${qualified(storageSchema, triggerFunction.name)}() returns trigger
language plpgsql security definer
set search_path = ${identifier(storageSchema)}, pg_temp
set jit = off
${triggerFunction.pins.map((pin) => `${settings[pin]}\n`).join("")}as ${quote}${source}${quote}`
}

/** The statements that make a function: its definition, and who may execute it. */
export const functionStatements = (storageSchema: string, triggerFunction: TriggerFunction): ReadonlyArray<string> => [
  createFunction(storageSchema, triggerFunction),
  triggerFunction.everybody
    ? `grant execute on function ${qualified(storageSchema, triggerFunction.name)}() to public`
    : `select ${qualified(storageSchema, "guard_function")}(${literal(`${qualified(storageSchema, triggerFunction.name)}()`)})`
]

const transitionTables = (event: Trigger["event"]): string =>
  [
    ...(event === "insert" ? [] : ["old table as threadline_old"]),
    ...(event === "delete" ? [] : ["new table as threadline_new"])
  ].join(" ")

/** The statements that make a trigger of a relation, in order. */
export const triggerStatements = (
  storageSchema: string,
  relation: RelationShape,
  trigger: Trigger
): ReadonlyArray<string> => {
  const on = qualified(relation.schema, relation.name)
  const name = identifier(trigger.name)
  const transition = trigger.transition ? `referencing ${transitionTables(trigger.event)}\n` : ""
  const condition = trigger.condition === undefined ? "" : `when (${trigger.condition})\n`
  return [
    `create or replace trigger ${name} ${trigger.timing} ${trigger.event} on ${on}
${transition}for each ${trigger.level}
${condition}execute function ${qualified(storageSchema, trigger.calls)}()`,
    ...(trigger.always
      ? [`alter ${relation.kind === "foreign" ? "foreign " : ""}table ${on} enable always trigger ${name}`]
      : [])
  ]
}
