/** What the demo prints: plain text in 80 columns, made of what `Query` returns. */
import type * as Actor from "../../src/Actor.js"
import * as Json from "../../src/Json.js"
import type * as Query from "../../src/Query.js"
import { print } from "../output.js"

export const say = (...lines: ReadonlyArray<string>) => print({ wide: true }, () => lines.join("\n"))

export const heading = (title: string) => say("", title, "=".repeat(title.length))

export const text = (...lines: ReadonlyArray<string>) => say("", ...lines)

const clip = (content: string, width: number): string =>
  content.length > width ? `${content.slice(0, width - 1)}…` : content

const table = (widths: ReadonlyArray<number>, rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> =>
  rows.map((row) =>
    widths
      .map((width, index) => clip(row[index] ?? "", width).padEnd(width))
      .join("  ")
      .trimEnd()
  )

const who = (actor: Actor.Actor | null): string => {
  if (actor === null) {
    return "(nobody said)"
  }
  const name = actor.label ?? (actor.type === "anonymous" ? actor.type : `${actor.type} ${actor.id}`)
  return actor.impersonator === undefined ? name : `${name}, by ${who(actor.impersonator)}`
}

/** A key of several columns is a JSON array of texts: `["1001","1"]`. */
const rowOf = ({ rowKey, tableName }: Query.Change): string => `${tableName} ${rowKey?.replaceAll(/[[\]"]/g, "") ?? ""}`

const valueOf = (value: Json.JsonValue | undefined): string => (value === undefined ? "-" : Json.stringify(value))

const facts = (pairs: ReadonlyArray<readonly [label: string, value: string | null]>): ReadonlyArray<string> =>
  pairs.flatMap(([label, value]) => (value === null || value === "" ? [] : [`${label.padEnd(13)}${value}`]))

/** One line for each change. */
export const timeline = (changes: ReadonlyArray<Query.Change>) =>
  say(
    ...table(
      [3, 22, 18, 6, 23],
      [
        ["tx", "who", "action", "did", "row"],
        ...changes.map((change) => [
          change.transactionId,
          who(change.transaction.actor),
          change.action?.name ?? "-",
          change.op,
          rowOf(change)
        ])
      ]
    )
  )

/** One transaction: who, why, from where, and each of its changes field by field. */
export const incident = ({ actions, changes, transaction }: Query.Incident) =>
  say(
    ...facts([
      ["transaction", `${transaction.id}, at ${transaction.occurredAt}`],
      ["actor", who(transaction.actor)],
      ["from", [transaction.source, transaction.remoteIp].filter((part) => part !== null).join(", ")],
      ["correlation", transaction.correlationId]
    ]),
    ...actions.flatMap(({ name, reason, status }) =>
      facts([
        ["action", `${name} (${status})`],
        ["reason", reason]
      ])
    ),
    ...changes.items.flatMap(({ change, fields }) => [
      "",
      `${change.op} ${rowOf(change)}`,
      ...table(
        [11, 20, 20],
        fields.map(({ after, before, field }) => [`  ${field}`, valueOf(before), `-> ${valueOf(after)}`])
      )
    ])
  )

/** The answer to "how did the row stand then?". */
export const asOf = (answer: Query.AsOf) =>
  say(
    answer._tag === "Present" ? `At ${answer.at} it was:` : `At ${answer.at}: ${answer._tag}`,
    ...(answer._tag === "Present"
      ? facts(Object.entries(answer.row).map(([name, value]) => [`  ${name}`, valueOf(value)]))
      : [])
  )

/** Changes without an actor. Only the database user and the application are known. */
export const unattributed = (changes: ReadonlyArray<Query.Change>) =>
  say(
    ...changes.map(
      (change) =>
        `Nobody said who: ${change.op} ${rowOf(change)}, by database user ${change.transaction.dbUser} ` +
        `with ${change.transaction.applicationName ?? "an unnamed program"}`
    )
  )

export interface Attempt {
  readonly name: string
  readonly subject: string | null
  readonly actor: string | null
}

/** What was tried and rolled back. */
export const failedAttempts = (attempts: ReadonlyArray<Attempt>) =>
  say(
    ...attempts.map(({ actor, name, subject }) => `Tried and failed: ${name} ${subject ?? ""}, by ${actor ?? "nobody"}`)
  )

export const goOn = text(
  "To go on:",
  "  README.md                  the quickstart: the same in an application of your own",
  "  cli/demo/traffic.ts        in the repository: the audited transactions of this story",
  "  threadline demo --large    the same after a year of a small company",
  "  threadline demo --url URL  the same in a database of yours"
)
