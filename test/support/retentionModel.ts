/**
 * What stays of a record under a policy, by brute force: over lists of everything that is recorded, one by one. Also the random policies,
 * and the histories of audited transactions that they are tried on.
 */
import * as fc from "effect/FastCheck"
import type * as Retention from "../../src/Retention.js"

export interface Who {
  readonly type: string
  readonly id?: string
  readonly impersonator?: Who
}

/** An audited transaction of a history. */
export interface Step {
  /** Since the beginning of the step before. */
  readonly hours: number
  readonly actor: Who | null
  readonly correlation: string | null
  readonly actions: ReadonlyArray<{ readonly name: string; readonly actor: Who | null }>
  readonly statements: ReadonlyArray<string>
  /** After the first statement somebody else goes on, with this context. */
  readonly second: Who | null
}

export interface Setting {
  readonly keep: number | null
  readonly tables: Readonly<Record<string, number | null>>
  readonly actions: Readonly<Record<string, number | null>>
  readonly holds: ReadonlyArray<HoldSeed>
  /** Consumers of the feed, each by the share of the history that it has received. */
  readonly consumers: ReadonlyArray<number>
  readonly ignoreFeed: boolean
  readonly batchSize: number
  /** How the purges before the last one end. */
  readonly ends: ReadonlyArray<End>
  readonly archive: boolean
  readonly late: boolean
  readonly maintain: boolean
  /** Shares of the time of the history, at whose instants rows are asked for. */
  readonly instants: ReadonlyArray<number>
}

type HoldSeed =
  | { readonly kind: "table"; readonly table: string }
  | { readonly kind: "row"; readonly table: string; readonly place: number }
  | { readonly kind: "actor"; readonly actor: Who }
  | { readonly kind: "correlation"; readonly id: string }

export type End =
  | { readonly kind: "batches"; readonly batches: number }
  | { readonly kind: "interrupted"; readonly after: number }
  | { readonly kind: "terminated"; readonly after: number }
  | { readonly kind: "terminated soon"; readonly millis: number }

export const keyed = ["posts", "rows", "pairs", "parts"] as const
export const tables = [...keyed, "loose"] as const

export const world = `
  create table posts (id int primary key, v text);
  create table rows (id int primary key, v text);
  create table pairs (a int, b text, v text, primary key (a, b));
  create table parts (id int primary key, v text) partition by range (id);
  create table parts_low partition of parts for values from (0) to (5);
  create table parts_high partition of parts for values from (5) to (1000);
  create table loose (v text)`

const simple = (table: string): fc.Arbitrary<string> =>
  fc
    .tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 8 }), fc.string({ maxLength: 3 }))
    .chain(([i, j]) =>
      fc.constantFrom(
        `insert into ${table} values (${i}, 'a') on conflict (id) do update set v = ${table}.v || '.'`,
        `insert into ${table} values (${i}, 'a'), (${j}, 'b') on conflict (id) do nothing`,
        `insert into ${table} select g, 'many' from generate_series(${i}, ${i} + 3) g on conflict (id) do nothing`,
        `update ${table} set v = v || '${j}' where id = ${i}`,
        `update ${table} set v = v || '${j}' where id >= ${i}`,
        `update ${table} set id = ${j} where id = ${i}`,
        `update ${table} set id = case id when ${i} then 90 when ${j} then 91 end where id in (${i}, ${j}) and ${i} <> ${j}; update ${table} set id = case id when 90 then ${j} else ${i} end where id in (90, 91)`,
        `update ${table} set id = id + 20 where id between ${i} and ${j}`,
        `update ${table} set id = id - 20 where id > 20 and not exists (select from ${table} o where o.id < 20)`,
        `delete from ${table} where id = ${i}`,
        `delete from ${table} where id > ${i}`,
        `delete from ${table} where id = ${i}; insert into ${table} values (${i}, 'again')`
      )
    )

const statement: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: simple("posts") },
  { weight: 2, arbitrary: simple("rows") },
  { weight: 3, arbitrary: simple("parts") },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.integer({ min: 1, max: 2 }), fc.constantFrom("x", "y", 'q"z'))
      .chain(([a, b]) =>
        fc.constantFrom(
          `insert into pairs values (${a}, '${b}', 'a') on conflict (a, b) do update set v = pairs.v || '.'`,
          `update pairs set a = a + 2 where a < 3 and b = '${b}'`,
          `update pairs set v = v || '-' where a = ${a}`,
          `delete from pairs where b = '${b}'`
        )
      )
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "insert into loose values ('a'), ('b')",
      "update loose set v = v || '.'",
      "delete from loose",
      "truncate posts",
      "truncate rows",
      "truncate parts_low",
      "truncate parts, loose",
      "truncate pairs"
    )
  }
)

const person: fc.Arbitrary<Who> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: fc.constant("user"), id: fc.constantFrom("a", "b", "c") }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("job"), id: fc.constantFrom("a", "n") }) }
)
const who: fc.Arbitrary<Who> = fc.oneof(
  { weight: 4, arbitrary: person },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant("admin"), id: fc.constantFrom("a", "z"), impersonator: person })
  }
)
const maybeWho = fc.option(who, { freq: 4 })

const step: fc.Arbitrary<Step> = fc.record({
  hours: fc.integer({ min: 1, max: 10 * 24 }),
  actor: maybeWho,
  correlation: fc.option(fc.constantFrom("x", "y", "z")),
  actions: fc.array(fc.record({ name: fc.constantFrom("one", "two", "three"), actor: fc.option(who) }), {
    maxLength: 2
  }),
  statements: fc.array(statement, { maxLength: 4 }),
  second: fc.option(who, { freq: 6 })
})

/** There is something to change. */
const beginning = [
  "insert into posts select g, 'first' from generate_series(1, 5) g",
  "insert into rows select g, 'first' from generate_series(2, 6) g",
  "insert into pairs values (1, 'x', 'first'), (2, 'y', 'first')",
  "insert into parts select g, 'first' from generate_series(3, 7) g"
]

export const steps: fc.Arbitrary<ReadonlyArray<Step>> = fc
  .array(step, { minLength: 3, maxLength: 14 })
  .map(([first, ...others]) =>
    first === undefined ? [] : [{ ...first, statements: [...beginning, ...first.statements] }, ...others]
  )

const days = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 150 }) },
  { weight: 1, arbitrary: fc.constant(null) }
)
const few = <A>(values: fc.Arbitrary<A>, keys: ReadonlyArray<string>): fc.Arbitrary<Readonly<Record<string, A>>> =>
  fc
    .array(fc.tuple(fc.constantFrom(...keys), values), { maxLength: 2 })
    .map((entries) => Object.fromEntries(entries) as Readonly<Record<string, A>>)

const hold: fc.Arbitrary<HoldSeed> = fc.oneof(
  fc.record({ kind: fc.constant("table" as const), table: fc.constantFrom(...tables) }),
  fc.record({ kind: fc.constant("row" as const), table: fc.constantFrom(...keyed), place: fc.nat() }),
  fc.record({ kind: fc.constant("row" as const), table: fc.constantFrom(...keyed), place: fc.nat() }),
  fc.record({
    kind: fc.constant("actor" as const),
    actor: fc.oneof(person, fc.record({ type: fc.constantFrom("user", "job") }))
  }),
  fc.record({ kind: fc.constant("correlation" as const), id: fc.constantFrom("x", "y") })
)

const share = fc.integer({ min: 0, max: 99 }).map((hundredths) => hundredths / 100)

const end: fc.Arbitrary<End> = fc.oneof(
  fc.record({ kind: fc.constant("batches" as const), batches: fc.integer({ min: 1, max: 6 }) }),
  fc.record({ kind: fc.constant("interrupted" as const), after: fc.integer({ min: 1, max: 9 }) }),
  fc.record({ kind: fc.constant("terminated" as const), after: fc.integer({ min: 1, max: 9 }) }),
  fc.record({ kind: fc.constant("terminated soon" as const), millis: fc.integer({ min: 0, max: 60 }) })
)

export const settings: fc.Arbitrary<Setting> = fc.record({
  keep: fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 0, max: 150 }) },
    { weight: 1, arbitrary: fc.constant(null) }
  ),
  tables: few(days, tables),
  actions: few(days, ["one", "two"]),
  holds: fc.array(hold, { maxLength: 2 }),
  consumers: fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    { weight: 2, arbitrary: fc.array(share, { minLength: 1, maxLength: 2 }) }
  ),
  ignoreFeed: fc.constantFrom(false, false, false, true),
  batchSize: fc.integer({ min: 1, max: 9 }),
  ends: fc.array(end, { maxLength: 2 }),
  archive: fc.constantFrom(false, false, true),
  late: fc.boolean(),
  maintain: fc.boolean(),
  instants: fc.array(share, { minLength: 2, maxLength: 3 })
})

/** Everything that is recorded; instants in microseconds. */
export interface Recorded {
  readonly transactions: ReadonlyArray<{
    readonly id: string
    readonly at: number
    readonly actor: Who | null
    readonly correlation: string | null
    /** It was not committed when the plan was made. */
    readonly unseen: boolean
  }>
  readonly actions: ReadonlyArray<{
    readonly id: string
    readonly transaction: string | null
    readonly name: string
    readonly at: number
    readonly actor: Who | null
    readonly correlation: string | null
  }>
  readonly changes: ReadonlyArray<{
    readonly id: string
    readonly transaction: string
    readonly at: number
    readonly table: string
    readonly op: string
    readonly key: string | null
    readonly previous: string | null
  }>
}

export const names = ["changes", "transactions", "actions"] as const
export type Ids = Readonly<Record<(typeof names)[number], ReadonlyArray<string>>>

/** A change that moved a row from one key to another. */
export interface Move {
  readonly at: number
  readonly key: string
  readonly previous: string
}

/** Whether a key was that of a held row at an instant: the row moves from key to key until nothing more is found. */
export const heldKeys = (moves: ReadonlyArray<Move>, held: string): ((key: string | null, at: number) => boolean) => {
  const from = new Map([[held, -Infinity]])
  const until = new Map([[held, Infinity]])
  for (let isFound = true; isFound;) {
    isFound = false
    for (const { at, key, previous } of moves) {
      if ((from.get(previous) ?? Infinity) < at && at < (from.get(key) ?? Infinity)) {
        from.set(key, at)
        isFound = true
      }
      if ((until.get(key) ?? -Infinity) > at && at > (until.get(previous) ?? -Infinity)) {
        until.set(previous, at)
        isFound = true
      }
    }
  }
  return (key, at) => key !== null && (at >= (from.get(key) ?? Infinity) || at <= (until.get(key) ?? -Infinity))
}

const movesOf = (changes: Recorded["changes"], table: string): ReadonlyArray<Move> =>
  changes.flatMap(({ at, key, previous, table: of }) =>
    of === table && key !== null && previous !== null && previous !== key ? [{ key, previous, at }] : []
  )

const isActor = (named: Who, who: Who | null): boolean =>
  who !== null &&
  ((who.type === named.type && (named.id === undefined || who.id === named.id)) ||
    isActor(named, who.impersonator ?? null))

/**
 * What stays. `cutoff` gives the instant before which something goes that is kept from a day of the history on; `horizon` is the id from
 * which on a consumer needs changes.
 */
export const staying = (
  { actions, changes, transactions }: Recorded,
  setting: Setting,
  holds: ReadonlyArray<Retention.Hold>,
  cutoff: (day: number | null) => number,
  horizon: bigint | null
): Ids => {
  const limit = (table: string) => cutoff(setting.tables[table] === undefined ? setting.keep : setting.tables[table])
  const latest = Math.max(cutoff(setting.keep), ...Object.values(setting.tables).map(cutoff))
  const ofActor = (who: Who | null, correlation: string | null) =>
    holds.some(
      ({ actor, correlationId }) =>
        (actor !== undefined && isActor(actor as Who, who)) ||
        (correlationId !== undefined && correlationId === correlation)
    )
  const rowHolds = holds.flatMap(({ key, table }) =>
    table !== undefined && typeof key === "string" ? [{ table, isOfRow: heldKeys(movesOf(changes, table), key) }] : []
  )
  const heldTransactions = new Set([
    ...transactions.filter(({ actor, correlation }) => ofActor(actor, correlation)).map(({ id }) => id),
    ...actions.flatMap(({ actor, correlation, transaction }) =>
      transaction !== null && ofActor(actor, correlation) ? [transaction] : []
    )
  ])
  const unseen = new Set(transactions.flatMap(({ id, unseen }) => (unseen ? [id] : [])))
  const keptChanges = changes.filter(
    ({ at, id, key, op, previous, table, transaction }) =>
      at >= limit(table) ||
      unseen.has(transaction) ||
      heldTransactions.has(transaction) ||
      holds.some((hold) => hold.table === table && hold.key === undefined) ||
      rowHolds.some(
        (held) =>
          held.table === table &&
          (held.isOfRow(key, at) || held.isOfRow(previous, at) || (op === "truncate" && key === null))
      ) ||
      (!setting.ignoreFeed && horizon !== null && BigInt(id) >= horizon)
  )
  const withChanges = new Set(keptChanges.map(({ transaction }) => transaction))
  const mayGo = ({ actor, at, correlation, name }: Recorded["actions"][number]) =>
    at < cutoff(setting.actions[name] === undefined ? setting.keep : setting.actions[name]) &&
    !ofActor(actor, correlation)
  const keptTransactions = transactions.filter(
    ({ actor, at, correlation, id, unseen }) =>
      withChanges.has(id) ||
      unseen ||
      ofActor(actor, correlation) ||
      at >= latest ||
      actions.some((action) => action.transaction === id && !mayGo(action))
  )
  const stays = new Set(keptTransactions.map(({ id }) => id))
  return {
    changes: keptChanges.map(({ id }) => id),
    transactions: [...stays],
    actions: actions
      .filter((action) => (action.transaction !== null && stays.has(action.transaction)) || !mayGo(action))
      .map(({ id }) => id)
  }
}
