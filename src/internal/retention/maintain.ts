/**
 * Maintenance of the record's partitions: makes those of the next months, moves changes out of the default one, analyses closed
 * ones and rebuilds their indexes.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import type * as Actor from "../../Actor.js"
import { fromSqlError, InvalidRequest, type ThreadlineError } from "../../ThreadlineError.js"
import { mustBeFunction, mustHaveOnly, told } from "../core/request.js"
import type { JsonObject } from "../core/jsonValue.js"
import { instantColumn } from "../record/change.js"
import { rows, type Storage } from "../record/storage.js"
import { persisting } from "../sql/patience.js"
import { single, withoutConnection } from "../sql/owned.js"
import { qualified } from "../sql/sqlText.js"
import type { Run } from "./model.js"
import { checkActor, lockTimeoutOf } from "./options.js"
import { isContended, leafName, leafOf, type Partition } from "./partitions.js"
import { partitionsNow, refuseInside } from "./plan.js"
import { underLease } from "./purge.js"
import type { RetentionError } from "./retentionError.js"
import { asOwner, begin, count, type Lease } from "./runs.js"

/**
 * Options of maintenance.
 *
 * @since 0.1.0
 * @category models
 */
export interface MaintainOptions {
  /** Months for which there are partitions beforehand: 3 unless given, at most 120. */
  readonly months?: number | undefined
  /** False if no index is to be rebuilt. */
  readonly reindex?: boolean | undefined
  /** How long to try for a lock: 3 seconds unless given. What stays locked is left for the next time. */
  readonly lockTimeout?: Duration.DurationInput | undefined
  /** Who runs it; the actor of `AuditContext` unless given. */
  readonly actor?: Actor.Actor | undefined
  /** Called before each step, with a few words that name it. */
  readonly onProgress?: ((step: string) => Effect.Effect<void>) | undefined
}

const optionNames = { months: true, reindex: true, lockTimeout: true, actor: true, onProgress: true } as const

const checkedOptions = Effect.fnUntraced(function* (options: MaintainOptions) {
  yield* mustHaveOnly(options, optionNames)
  yield* checkActor(options.actor)
  yield* mustBeFunction("onProgress", options.onProgress)
  const { months = 3, reindex = true } = options
  if (!(Number.isInteger(months) && months >= 1 && months <= 120)) {
    return yield* new InvalidRequest({ field: "months", rule: "must be a whole number from 1 to 120" })
  }
  if (typeof reindex !== "boolean") {
    return yield* new InvalidRequest({ field: "reindex", rule: "must be true or false" })
  }
  return { months, reindex, lockTimeout: yield* lockTimeoutOf(options) }
})

const Made = Schema.Struct({ made: Schema.parseJson(Schema.Array(Schema.String)) })

/**
 * Makes the partitions of a span of time, and moves its changes out of the default partition. Undefined if the locks could not
 * be had.
 */
const makePartitions = (storage: Storage, lease: Lease, lockTimeout: number, from: string, to: string) =>
  persisting(
    asOwner(
      storage,
      Effect.gen(function* () {
        const [row] = yield* rows(
          Made,
          storage.sql`
            select to_json(${storage.name("ensure_partitions")}(${from}::timestamptz, ${to}::timestamptz))::text as made`,
          fromSqlError
        )
        const made = row?.made ?? []
        yield* count(storage, lease, { partitions: made, batches: made.length > 0 ? 1 : 0 })
        return made
      }),
      { lock_timeout: String(Math.min(lockTimeout, 500)) }
    ),
    lockTimeout,
    isContended
  ).pipe(Effect.catchIf(isContended, () => Effect.succeed(undefined)))

const Months = Schema.Struct({ from: Schema.String, to: Schema.String })

/** The months of which a partition holds changes: their first and their last instant. */
const monthsIn = (storage: Storage, leaf: Partition) =>
  rows(
    Months,
    storage.sql`
      select ${instantColumn(storage.sql, "x.month")} as from,
        ${instantColumn(storage.sql, "((x.month at time zone 'UTC' + interval '1 month') at time zone 'UTC' - interval '1 microsecond')")} as to
      from (
        select distinct date_trunc('month', c.captured_at at time zone 'UTC') at time zone 'UTC' as month
        from ${leafOf(storage, leaf)} c
      ) x
      order by x.month`
  )

const IndexRow = Schema.Struct({
  name: Schema.String,
  /** Whether the role has the rights of its owner, and not only after "set role". */
  mine: Schema.Literal("true", "false"),
  bytes: Schema.NumberFromString,
  rows: Schema.NumberFromString,
  expected: Schema.NumberFromString,
  /** Its bytes after it was last rebuilt, if it was. */
  rebuilt: Schema.NullOr(Schema.NumberFromString),
  rebuilt_rows: Schema.NullOr(Schema.NumberFromString)
})

/** In bytes: a smaller index is not worth rebuilding. */
const smallestIndex = 262_144

/** How much larger than a full index one may be. Random keys leave a page 69 % full, and rows in their order one of 90 %. */
const slack = 1.25

/** The btree indexes of a closed partition, with the size that they would have if all their pages were full. */
const indexesOf = (storage: Storage, leaf: Partition) =>
  rows(
    IndexRow,
    storage.sql`
      select x.name, x.mine, x.bytes::text as bytes, x.rows::text as rows,
        -- A tuple has a header of 8 bytes and a pointer of 4.
        round(x.rows * (12 + 8 * ceil(x.width / 8.0)) + 8192)::bigint::text as expected,
        last.after as rebuilt, last.rows as rebuilt_rows
      from (
        select i.relname::text as name, pg_has_role(i.relowner, 'usage')::text as mine, pg_relation_size(i.oid) as bytes, greatest(i.reltuples, 0)::bigint as rows,
          (
            select coalesce(sum(coalesce(s.avg_width * (1 - s.null_frac), 8)), 8)
            from unnest(x.indkey::int2[]) k (attnum)
            join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum
            left join pg_stats s on s.schemaname = ${leaf.schema} and s.tablename = ${leaf.name} and s.attname = a.attname
          ) as width
        from pg_index x
        join pg_class i on i.oid = x.indexrelid
        join pg_am m on m.oid = i.relam
        where x.indrelid = ${leafName(leaf)}::regclass and m.amname = 'btree' and x.indisvalid
      ) x
      left join lateral (
        select e ->> 'after' as after, e ->> 'rows' as rows
        from ${storage.name("retention_runs")} r
        cross join lateral jsonb_array_elements(r.details -> 'reindexed') e
        where r.kind = 'maintain' and e ->> 'index' = x.name
        order by r.id desc
        limit 1
      ) last on true
      order by x.name`
  )

const isLoose = (index: typeof IndexRow.Type): boolean =>
  index.bytes >= smallestIndex &&
  index.bytes > slack * index.expected &&
  // If an index is still as large as after its last rebuild, the estimate is wrong, unless half of its rows went since.
  (index.rebuilt === null ||
    index.bytes > slack * index.rebuilt ||
    (index.rebuilt_rows !== null && index.rows * 2 < index.rebuilt_rows))

const NameRow = Schema.Struct({ name: Schema.String })
const SizeRow = Schema.Struct({ bytes: Schema.NumberFromString })

/** Runs a statement that cannot be in a transaction. */
const alone = (storage: Storage, statement: string) =>
  withoutConnection(Effect.asVoid(Effect.mapError(single(storage.sql.unsafe(statement)), fromSqlError)))

/** Drops indexes that a rebuild left unfinished, in this run or in one that died. */
const dropUnfinished = (storage: Storage, leaf: Partition) =>
  Effect.flatMap(
    rows(
      NameRow,
      storage.sql`
        select i.relname::text as name
        from pg_index x
        join pg_class i on i.oid = x.indexrelid
        where x.indrelid = ${leafName(leaf)}::regclass and not x.indisvalid and i.relname ~ '_cc(new|old)[0-9]*$'
          and pg_has_role(i.relowner, 'usage')`
    ),
    (found) =>
      Effect.forEach(
        found,
        ({ name }) => alone(storage, `drop index concurrently if exists ${qualified(leaf.schema, name)}`),
        { discard: true }
      )
  )

const reindex = Effect.fnUntraced(function* (storage: Storage, leaf: Partition, index: typeof IndexRow.Type) {
  const name = qualified(leaf.schema, index.name)
  // Nothing is written to a partition that is over, so no page of it needs room.
  yield* alone(storage, `alter index ${name} set (fillfactor = 100)`)
  yield* alone(storage, `reindex index concurrently ${name}`).pipe(
    Effect.onError(() => Effect.ignoreLogged(dropUnfinished(storage, leaf)))
  )
  const [size] = yield* rows(SizeRow, storage.sql`select pg_relation_size(${name}::regclass)::text as bytes`)
  return { index: index.name, before: index.bytes, after: size?.bytes ?? 0, rows: index.rows }
})

const StaleRow = Schema.Struct({ stale: Schema.Literal("true", "false") })

const analyse = Effect.fnUntraced(function* (storage: Storage, leaf: Partition) {
  const [row] = yield* rows(
    StaleRow,
    storage.sql`
      select coalesce((
        select s.n_mod_since_analyze > 0 or coalesce(s.last_analyze, s.last_autoanalyze) is null
        from pg_stat_all_tables s
        where s.relid = ${leafName(leaf)}::regclass
      ), true)::text as stale`
  )
  if (row?.stale === "true") {
    yield* asOwner(storage, Effect.mapError(storage.sql.unsafe(`analyze ${leafName(leaf)}`), fromSqlError))
    return true
  }
  return false
})

const NowRow = Schema.Struct({ at: Schema.String, ahead: Schema.String })

export const maintain = Effect.fnUntraced(function* (
  storage: Storage,
  options: MaintainOptions
): Effect.fn.Return<Run, InvalidRequest | RetentionError | ThreadlineError> {
  yield* refuseInside
  const { lockTimeout, months, reindex: mayReindex } = yield* checkedOptions(options)
  const tell = (step: string) => told(options.onProgress, step)
  const lease = yield* begin(
    storage,
    "maintain",
    randomUUID(),
    { policy: null, plan: null, cutoff: null },
    options.actor,
    undefined
  )
  return yield* underLease<InvalidRequest | RetentionError | ThreadlineError, never>(
    storage,
    lease,
    Effect.gen(function* () {
      const { sql } = storage
      const [clock] = yield* rows(
        NowRow,
        sql`select ${instantColumn(sql, "now()")} as at,
          ${instantColumn(sql, "(now() + make_interval(months => " + String(months) + "))")} as ahead`
      )
      const at = clock?.at ?? ""
      const waiting: Array<string> = []
      yield* tell("partitions ahead")
      if ((yield* makePartitions(storage, lease, lockTimeout, at, clock?.ahead ?? at)) === undefined) {
        waiting.push("partitions ahead")
      }
      const [strayed] = (yield* partitionsNow(storage)).filter(({ bounds }) => bounds === undefined)
      if (strayed !== undefined) {
        for (const month of yield* monthsIn(storage, strayed)) {
          yield* tell(`changes of ${month.from.slice(0, 7)} out of ${strayed.name}`)
          if ((yield* makePartitions(storage, lease, lockTimeout, month.from, month.to)) === undefined) {
            waiting.push(`${month.from.slice(0, 7)} of ${strayed.name}`)
          }
        }
      }
      const analysed: Array<string> = []
      const reindexed: Array<JsonObject> = []
      for (const leaf of (yield* partitionsNow(storage)).filter(
        ({ bounds }) => bounds !== undefined && bounds.until <= at
      )) {
        if (yield* analyse(storage, leaf)) {
          analysed.push(leaf.name)
        }
        yield* dropUnfinished(storage, leaf)
        for (const index of mayReindex ? (yield* indexesOf(storage, leaf)).filter(isLoose) : []) {
          // It is rebuilt outside of a transaction, in which the role could become the owner.
          if (index.mine === "false") {
            waiting.push(`index ${index.name}, which needs a role that inherits the rights of the owner`)
            continue
          }
          yield* tell(`index ${index.name}`)
          const rebuilt = yield* reindex(storage, leaf, index)
          reindexed.push(rebuilt)
          yield* asOwner(storage, count(storage, lease, { batches: 1, details: { reindexed } }))
        }
      }
      yield* asOwner(storage, count(storage, lease, { details: { analysed, reindexed, waiting } }))
    })
  )
})
