/** What commands that read have in common: paging, the database, and the refusal of wrong input before the database is asked. */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Page from "../src/Page.js"
import * as Query from "../src/Query.js"
import { withSuggestion } from "../src/Suggestion.js"
import { InvalidRequest, type ThreadlineError } from "../src/ThreadlineError.js"
import { configuration, inputFirst, migratedClient, withSchema } from "./database.js"
import { UsageError } from "./exit.js"
import { choice, type Common, value } from "./options.js"
import type { Given } from "./parser/declare.js"
import { wholeNumber } from "./values.js"

export const paging = {
  order: choice("order", ["newest", "oldest"], "Which come first; default: the newest."),
  limit: value("limit", "NUMBER", "How many, 1 to 1000; default: 50."),
  cursor: value("cursor", "CURSOR", "Continue where the previous page ended.")
}

export type Paging = Given<typeof paging>

export const pagingOf = Effect.fnUntraced(function* (options: Paging) {
  return {
    order: Option.getOrUndefined(options.order),
    limit: yield* wholeNumber("--limit", options.limit, 1, 1000),
    cursor: Option.getOrUndefined(options.cursor)
  }
})

const optionOf = (property: string): string =>
  `--${property.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`

/** The name of a request's field in a command: an argument, an option, or the field itself. */
export const nameOf = (options: object, args: Readonly<Record<string, string>>, field: string): string => {
  const argument = args[field]
  const property = field === "schema" ? "tableSchema" : field
  return argument ?? (property in options ? optionOf(property) : field)
}

/** Says a refusal of the input in the words of the command, which calls a field what `name` says. */
export const inWordsOf =
  (name: (field: string) => string) =>
  <A, E, R>(
    effect: Effect.Effect<A, E | InvalidRequest, R>
  ): Effect.Effect<A, Exclude<E, InvalidRequest> | UsageError, R> =>
    Effect.catchIf(
      effect,
      (error): error is Extract<E | InvalidRequest, InvalidRequest> => InvalidRequest.is(error),
      (error) =>
        new UsageError({ message: withSuggestion(`${name(error.field)}: ${error.ruleWith(name)}`, error.suggestion) })
    )

/** Runs a read in the database that the options name; `args` names the fields that are arguments of the command. */
export const reading = <A, E>(
  options: Common,
  read: Effect.Effect<A, E | Query.ReadError, Query.Query>,
  args: Readonly<Record<string, string>> = {}
) => asking(options, Query.layer, read, args)

/** Like `reading`, with other services. */
export const asking = <A, E, R>(
  options: Common,
  services: Layer.Layer<R, ThreadlineError, SqlClient>,
  read: Effect.Effect<A, E | Query.ReadError, R>,
  args: Readonly<Record<string, string>> = {}
) =>
  Effect.gen(function* () {
    const configured = yield* configuration(options)
    const provided = read.pipe(
      Effect.provide(services),
      inWordsOf((field) => nameOf(options, args, field))
    )
    return yield* inputFirst(provided, migratedClient(options)).pipe(withSchema(options, configured))
  })

export const more = (page: Page.Page<unknown>): ReadonlyArray<string> =>
  Option.match(page.nextCursor, {
    onNone: () => [],
    onSome: (cursor) => [
      "",
      ...(page.partial ? ["The search ended at its limit of rows; go on to see whether more matches."] : []),
      `More: --cursor ${cursor}`
    ]
  })

/** A page for people. A page may be empty and not the last one. */
export const listed = (page: Page.Page<unknown>, none: string, lines: () => ReadonlyArray<string>): string =>
  [...(page.items.length === 0 ? [page.partial ? "Nothing found so far." : none] : lines()), ...more(page)].join("\n")
