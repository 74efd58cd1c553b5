/**
 * The possible meanings of a text in the search box, the likeliest first. Each has a name, an address, and a check that
 * it exists.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Query from "../../Query.js"
import * as TableName from "../../TableName.js"
import { InvalidRequest, NotFound } from "../../ThreadlineError.js"
import type { Addresses } from "./address.js"
import { actorOf, hasQualifiers, read, tokensOf, write } from "./qualifiers.js"
import { dayOf, instantOfLocal } from "./zone.js"

/** One possible meaning of a search text. */
export interface Meaning {
  /** `row 2041 of public.invoices` */
  readonly name: string
  readonly address: (to: Addresses) => string
  /** Whether the viewer may see such a thing. Undefined if the meaning needs no check. */
  readonly exists: ((query: Query.Service) => Effect.Effect<boolean, Query.ReadError>) | undefined
  /** The same meaning with another table. */
  readonly of?: ((table: string) => Meaning) | undefined
  /** The same meaning with a table of this name in another schema, if the record does not know the typed one. */
  readonly elsewhere?: ((query: Query.Service) => Effect.Effect<Meaning | undefined>) | undefined
}

const any = (page: { readonly items: ReadonlyArray<unknown> }): boolean => page.items.length > 0

const either = (
  one: Effect.Effect<{ readonly items: ReadonlyArray<unknown> }, Query.ReadError>,
  other: Effect.Effect<{ readonly items: ReadonlyArray<unknown> }, Query.ReadError>
): Effect.Effect<boolean, Query.ReadError> =>
  Effect.flatMap(one, (page) => (any(page) ? Effect.succeed(true) : Effect.map(other, any)))

const isFound = <A>(read: Effect.Effect<A, Query.ReadError>, test: (a: A) => boolean = () => true) =>
  Effect.map(read, test).pipe(
    Effect.catchIf(
      (error) => NotFound.is(error) || InvalidRequest.is(error),
      () => Effect.succeed(false)
    )
  )

const transaction = (id: string): Meaning => ({
  name: `transaction ${id}`,
  address: (to) => to.transaction(id),
  exists: (query) => isFound(query.incident(id, { limit: 1 }))
})

/**
 * A meaning with a table, or with the table of the same name in another schema if the record does not know the typed
 * one.
 */
const ofTable = (text: string, make: (table: string) => Meaning): ReadonlyArray<Meaning> =>
  Either.match(TableName.parse(text), {
    onLeft: () => [],
    onRight: (typed) => {
      const table = TableName.format(typed)
      const elsewhere = (query: Query.Service): Effect.Effect<Meaning | undefined> =>
        Effect.match(query.names(table), {
          onSuccess: () => undefined,
          onFailure: (error) => {
            const other = NotFound.is(error) ? (error.suggestion ?? "") : ""
            return Either.match(TableName.parse(other), {
              onLeft: () => undefined,
              onRight: ({ name }) => (name === typed.name ? make(other) : undefined)
            })
          }
        })
      return [{ ...make(table), of: make, elsewhere }]
    }
  })

const row = (table: string, key: string): ReadonlyArray<Meaning> =>
  ofTable(table, (name) => ({
    name: `row ${key} of ${name}`,
    address: (to) => to.row(name, key),
    exists: (query) => isFound(query.history(name, key, { limit: 1 }), any)
  }))

const table = (text: string): ReadonlyArray<Meaning> =>
  ofTable(text, (name) => ({
    name: `table ${name}`,
    address: (to) => to.timeline({ table: name }, { since: "all" }),
    exists: (query) => isFound(query.names(name))
  }))

/** Replaces tables that the record does not know by those of the same name in another schema (`Meaning.elsewhere`). */
export const placed = (query: Query.Service, meanings: ReadonlyArray<Meaning>): Effect.Effect<ReadonlyArray<Meaning>> =>
  Effect.forEach(
    meanings,
    (meaning) =>
      meaning.elsewhere === undefined
        ? Effect.succeed(meaning)
        : Effect.map(meaning.elsewhere(query), (other) => other ?? meaning),
    { concurrency: 4 }
  )

const correlation = (id: string): Meaning => ({
  name: `correlation ${id}`,
  address: (to) => to.correlation(id),
  exists: (query) =>
    isFound(
      either(
        query.timeline({ correlationId: id, includeCaptureOnly: true, limit: 1 }),
        query.actions({ correlationId: id, limit: 1 })
      ),
      (exists) => exists
    )
})

const request = (id: string): Meaning => ({
  name: `request ${id}`,
  address: (to) => to.request(id),
  exists: (query) =>
    isFound(
      either(query.timeline({ requestId: id, limit: 1 }), query.actions({ requestId: id, limit: 1 })),
      (exists) => exists
    )
})

const actor = (named: Query.ActorInput): Meaning => ({
  name: named.id === undefined ? `every ${named.type}` : `actor ${named.type} ${named.id}`,
  address: (to) => to.actor(named.type, named.id),
  exists: (query) =>
    isFound(
      either(query.transactions({ actor: named, limit: 1 }), query.actions({ actor: named, limit: 1 })),
      (exists) => exists
    )
})

const action = (name: string): Meaning => ({
  name: `action ${name}`,
  address: (to) => to.actions({ action: name }, { since: "all" }),
  exists: (query) => isFound(query.actions({ action: name, limit: 1 }), any)
})

const day = (text: string, zone: string): ReadonlyArray<Meaning> => {
  const bounds = dayOf(text, zone)
  if (bounds !== undefined) {
    return [
      {
        name: `everything of ${text} (${zone})`,
        address: (to) => to.timeline(bounds),
        exists: undefined
      }
    ]
  }
  const local = instantOfLocal(text, zone)
  const instant =
    local ?? (/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : undefined)
  return instant === undefined || Number.isNaN(Date.parse(instant))
    ? []
    : [{ name: `what happened up to ${text}`, address: (to) => to.timeline({ to: instant }), exists: undefined }]
}

/** Actors whose label contains a string, among transactions that a search without an index reaches. */
export const actorsLabelled = (
  query: Query.Service,
  text: string
): Effect.Effect<ReadonlyArray<Meaning>, Query.ReadError> =>
  Effect.map(query.transactions({ actorLabel: text, limit: 200 }), ({ items }) => {
    const lowerText = text.toLowerCase()
    const named = new Map<string, Meaning>()
    for (const { transaction } of items) {
      for (let by = transaction.actor ?? undefined; by !== undefined; by = by.impersonator) {
        if (by.type !== "anonymous" && by.label?.toLowerCase().includes(lowerText) === true) {
          const { id, label, type } = by
          named.set(`${type}:${id}`, { ...actor({ type, id }), name: `${label}, ${type} ${id}` })
        }
      }
    }
    return [...named.values()].slice(0, 10)
  })

/** The meanings of a text. This needs no database. */
export const meaningsOf = (text: string, zone: string): Either.Either<ReadonlyArray<Meaning>, InvalidRequest> => {
  const trimmed = text.trim()
  const tokens = tokensOf(trimmed)
  const [first, second] = tokens
  if (first === undefined) {
    return Either.right([])
  }
  if (hasQualifiers(tokens)) {
    return Either.map(read(tokens, zone), ({ filter, since }) => [
      {
        name: write(filter, since),
        address: (to) =>
          to.timeline(filter, {
            since: since ?? (filter.from === undefined && filter.to === undefined ? "all" : undefined)
          }),
        exists: undefined
      }
    ])
  }
  const onlyActor = tokens.length === 1 ? actorOf(first) : undefined
  if (onlyActor !== undefined) {
    return Either.right([
      actor(onlyActor),
      ...(first.word === undefined ? [] : [correlation(trimmed), request(trimmed)]),
      ...(first.word === undefined ? table(trimmed) : [])
    ])
  }
  const meanings: Array<Meaning> = [...day(trimmed, zone)]
  if (/^[1-9]\d{0,18}$/.test(trimmed)) {
    meanings.push(transaction(trimmed))
  }
  const transactionId = /^(?:transaction|tx)\s+#?([1-9]\d{0,18})$/i.exec(trimmed)?.[1]
  if (transactionId !== undefined) {
    meanings.push(transaction(transactionId))
  }
  if (second !== undefined && first.word === undefined) {
    // The key is everything after the table, because it may have spaces.
    meanings.push(...row(first.value, trimmed.slice(trimmed.indexOf(first.value) + first.value.length).trim()))
  }
  const [, slashTable, slashKey] = /^([^\s/#]+)[/#](.+)$/su.exec(trimmed) ?? []
  if (second === undefined && slashTable !== undefined && slashKey !== undefined) {
    meanings.push(...row(slashTable, slashKey))
  }
  if (trimmed.length <= 256) {
    meanings.push(correlation(trimmed), request(trimmed), action(trimmed))
    if (second === undefined) {
      meanings.push(...table(trimmed))
    }
  }
  return Either.right(meanings)
}
