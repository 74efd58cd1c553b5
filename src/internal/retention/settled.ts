/**
 * What earlier purges have settled. A purge that completes has looked at every transaction and every action whose time was up. What stayed
 * stays until something about it changes: a change of it goes, the time of one of its actions is up, or it was not committed then. The next
 * purge under the same policy looks only there, so that a purge with nothing to do is quick however long the record is.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { stringify } from "../core/json.js"
import type { JsonObject } from "../core/jsonValue.js"
import { rows, type Storage } from "../record/storage.js"
import type { Conditions } from "./conditions.js"
import type { Cutoffs } from "./policy.js"
import { unseenIds } from "./unseen.js"

/** Transactions are noted in blocks of so many ids, so that notes stay short. */
export const block = 1024

/** Everything is looked at once more after so long. It finds what nobody noted: what the owner removed by hand, for example. */
const wholeAfter = "30 days"

const Instant = Schema.NullOr(Schema.String)

const Settled = Schema.Struct({
  latest: Instant,
  otherActions: Instant,
  actions: Schema.Array(Schema.Struct({ name: Schema.String, cutoff: Instant })),
  snapshot: Schema.String,
  /** When everything was looked at. */
  whole: Schema.String
})
type Settled = typeof Settled.Type

/** What a purge has to look at. */
export interface Look {
  /** Undefined if it is everything. */
  readonly settled: Settled | undefined
  /** Ids of transactions, as a multirange. */
  readonly blocks: string
}

const SettledRow = Schema.Struct({ settled: Schema.parseJson(Settled), touched: Schema.String })

/** The newest purge under the same policy that completed, and what later ones touched. */
const lastSettled = ({ seen, storage: { name, sql } }: Conditions, policy: JsonObject) =>
  rows(
    SettledRow,
    sql`
      select l.settled::text as settled, coalesce((
          select range_agg(n.touched)
          from ${name("retention_runs")} n
          where n.kind = 'purge' and n.id > l.id
        ), '{}')::text as touched
      from (
        select r.id, r.settled
        from ${name("retention_runs")} r
        where r.kind = 'purge'
          and r.settled is not null
          and r.policy = ${stringify(policy)}::jsonb
          and (r.settled ->> 'epoch')::int = ${seen.epoch}::int
          and (r.settled ->> 'whole')::timestamptz > clock_timestamp() - ${wholeAfter}::interval
        order by r.id desc
        limit 1
      ) l`
  )

/**
 * Conditions on actions that became due since an earlier purge: for each cutoff, the actions that it covers, between its former
 * and its present instant.
 */
export const newlyDue = (
  { storage: { sql } }: Pick<Conditions, "storage">,
  cutoffs: Cutoffs,
  settled: Settled,
  alias: string
): ReadonlyArray<Fragment> => {
  const as = sql.literal(alias)
  const between = (since: string | null | undefined, until: string | null): Fragment | undefined =>
    until === null || (typeof since === "string" && since >= until)
      ? undefined
      : typeof since === "string"
        ? sql`${as}.occurred_at >= ${since}::timestamptz and ${as}.occurred_at < ${until}::timestamptz`
        : sql`${as}.occurred_at < ${until}::timestamptz`
  const others = between(settled.otherActions, cutoffs.otherActions)
  return [
    ...cutoffs.actions.flatMap(({ cutoff, name }) => {
      const due = between(settled.actions.find((action) => action.name === name)?.cutoff, cutoff)
      return due === undefined ? [] : [sql`(${as}.name = ${name} and ${due})`]
    }),
    ...(others === undefined
      ? []
      : cutoffs.actions.length === 0
        ? [sql`(${others})`]
        : [sql`(${sql.and(cutoffs.actions.map(({ name }) => sql`${as}.name <> ${name}`))} and ${others})`])
  ]
}

const BlocksRow = Schema.Struct({ blocks: Schema.String })

const blocksOf = ({ sql }: Storage, ids: Fragment): Fragment => sql`
  select int8range(b.number * ${block}, (b.number + 1) * ${block})::int8multirange as blocks
  from (select distinct i.id / ${block} as number from (${ids}) i (id) where i.id is not null) b`

/** What a purge under this policy has to look at, and beside that `further` blocks, each a multirange. */
export const toLookAt = (
  conditions: Conditions,
  policy: JsonObject,
  further: ReadonlyArray<string> = []
): Effect.Effect<Look, ThreadlineError> => {
  const { cutoffs, storage } = conditions
  const { name, sql } = storage
  return Effect.gen(function* () {
    const [last] = yield* lastSettled(conditions, policy)
    const settled = last?.settled
    const old = sql`t.occurred_at < ${cutoffs.latest}::timestamptz`
    const looked: ReadonlyArray<Fragment> =
      cutoffs.latest === null
        ? []
        : settled === undefined
          ? [sql`select t.id from ${name("audit_transactions")} t where ${old}`]
          : [
              sql`
                select t.id
                from ${name("audit_transactions")} t
                where ${old}${settled.latest === null ? sql`` : sql` and t.occurred_at >= ${settled.latest}::timestamptz`}`,
              unseenIds(
                { epoch: conditions.seen.epoch, snapshot: settled.snapshot },
                storage,
                sql`ut.occurred_at < ${cutoffs.latest}::timestamptz`
              )
            ]
    const due = settled === undefined ? [] : newlyDue(conditions, cutoffs, settled, "a")
    const parts = [
      ...looked,
      ...due.map((condition) => sql`select a.transaction_id from ${name("audit_actions")} a where ${condition}`)
    ].map((ids) => blocksOf(storage, ids))
    const [row] = yield* rows(
      BlocksRow,
      sql`
        select coalesce(range_agg(x.blocks), '{}')::text as blocks
        from (
          select f.value::int8multirange as blocks
          from jsonb_array_elements_text(${JSON.stringify([last?.touched ?? "{}", ...further])}::jsonb) f (value)${parts.reduce(
            (all, part) => sql`${all} union all ${part}`,
            sql``
          )}
        ) x`
    )
    return { settled, blocks: row?.blocks ?? "{}" }
  })
}

const RangeRow = Schema.Struct({ since: Schema.String, until: Schema.String })

/** The blocks as ranges of ids, in their order. */
export const rangesOf = ({ sql }: Storage, { blocks }: Look) =>
  rows(
    RangeRow,
    sql`
      select lower(r.ids)::text as since, upper(r.ids)::text as until
      from unnest(${blocks}::int8multirange) r (ids)
      order by r.ids`
  )

/** What a completed purge notes for the next one. A purge that left rows which others had locked notes nothing. */
export const settledBy = ({ cutoffs, seen }: Conditions, { settled }: Look, at: string): JsonObject => ({
  latest: cutoffs.latest,
  otherActions: cutoffs.otherActions,
  actions: cutoffs.actions.map(({ cutoff, name }) => ({ name, cutoff })),
  epoch: seen.epoch,
  snapshot: seen.snapshot,
  whole: settled?.whole ?? at
})
