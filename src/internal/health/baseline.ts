/**
 * Records rows that the record does not know, batch by batch. Every batch is a transaction of its own: it takes the next blocks, locks
 * their rows as the connected role, and records them as the owner of the record.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import { fromFailure } from "../capture/failure.js"
import type { Name } from "../capture/catalogModel.js"
import { CaptureError } from "../capture/captureError.js"
import { applyCommand, hostMend, type Mend, sqlMend } from "../capture/mend.js"
import type { Refusal } from "../capture/refusal.js"
import { label } from "../capture/resolve.js"
import { settings } from "../capture/settings.js"
import { asOwner } from "../capture/statements.js"
import { told } from "../core/request.js"
import * as TableName from "../core/tableName.js"
import { refuseHidden } from "../sql/hidden.js"
import { beginWriting, transaction } from "../sql/owned.js"
import { isRowSecurity, reasonOf, sqlState } from "../sql/sqlState.js"
import { literal, qualified } from "../sql/sqlText.js"
import { baselineTarget, hiddenRows } from "./continuity.js"

/**
 * How far a baseline has come. `blocks` are those of the table on disk; `waiting` counts ranges of blocks with rows that writers had
 * locked.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly table: string
  readonly recorded: number
  readonly blocks: number
  readonly blocksDone: number
  readonly waiting: number
}

/**
 * The result of a baseline. `waiting`: writers kept some rows locked for longer than `patience`; the next call goes on with
 * these.
 *
 * @since 0.1.0
 * @category models
 */
export const BaselineResult = Schema.Struct({
  table: Schema.String,
  state: Schema.Literal("done", "waiting"),
  /** Rows that it recorded, including those of earlier calls that were interrupted. */
  recorded: Schema.Int
}).annotations({ identifier: "threadline.Continuity.BaselineResult" })

/**
 * @since 0.1.0
 * @category models
 */
export type BaselineResult = typeof BaselineResult.Type

export interface BaselineRun {
  readonly batchSize: number
  readonly patienceMillis: number
  readonly onProgress: (progress: Progress) => Effect.Effect<void>
}

type Failure = CaptureError | InvalidRequest | ThreadlineError
type Stored = SqlError | ParseResult.ParseError

const Target = Schema.Struct({
  role: Schema.String,
  owner: Schema.String,
  keyed: Schema.Boolean,
  relations: Schema.parseJson(
    Schema.Array(
      Schema.Struct({
        relation: Schema.String,
        foreign: Schema.Boolean,
        locks: Schema.Boolean,
        reads: Schema.Boolean,
        hidden: Schema.Boolean
      })
    )
  )
})

type Target = typeof Target.Type

const Begun = Schema.Tuple(Schema.Struct({ baseline: Schema.NullOr(Schema.String) }))
const Hidden = Schema.Tuple(Schema.Struct({ hidden: Schema.parseJson(Schema.Array(Schema.String)) }))
const Next = Schema.Array(
  Schema.Struct({
    relation: Schema.String,
    label: Schema.String,
    from: Schema.String,
    to: Schema.String,
    isWaiting: Schema.Boolean
  })
)
const Locked = Schema.Tuple(Schema.Struct({ places: Schema.String, count: Schema.Int, visible: Schema.Int }))
const Reached = Schema.Tuple(
  Schema.Struct({
    recorded: Schema.NumberFromString,
    blocks: Schema.NumberFromString,
    done: Schema.NumberFromString,
    waiting: Schema.Int
  })
)

/** What the record knows of the table changed while a batch ran (`TL007`). */
const isOutdated = (error: unknown): boolean => error instanceof SqlError && sqlState(error) === "TL007"

type Refuse = (refusal: Refusal, mend: Mend) => CaptureError

/** Begins the baseline of a table, or goes on with it, if all of its rows can be read and locked. */
const begin = Effect.fnUntraced(function* (sql: SqlClient, storage: string, table: Name, refuse: Refuse) {
  yield* refuseHidden(sql, storage, "and rows that are known would be recorded again")
  const [target] = yield* Effect.flatMap(
    sql.unsafe(baselineTarget(storage, table.schema, table.name)),
    Schema.decodeUnknown(Schema.Array(Target))
  )
  if (target === undefined) {
    return yield* refuse({ reason: "NotCaptured" }, hostMend("captureTables"))
  }
  yield* check(target, refuse)
  // Both roles see the rows: one locks them, the other records them.
  const [{ hidden }] = yield* runAsOwner(
    sql,
    target.owner,
    hiddenRows(target.relations.map(({ relation }) => relation)),
    Schema.decodeUnknown(Hidden)
  )
  const hiding = target.relations.find((relation) => relation.hidden)
  if (hidden[0] !== undefined || hiding !== undefined) {
    const role = hiding === undefined ? target.owner : target.role
    return yield* refuse(
      { reason: "RowsHidden", relation: hiding?.relation ?? hidden[0] ?? "", role },
      sqlMend([`alter role ${TableName.quote(role)} bypassrls`])
    )
  }
  const [{ baseline }] = yield* runAsOwner(
    sql,
    target.owner,
    `select ${qualified(storage, "baseline_begin")}(${literal(table.schema)}, ${literal(table.name)})::text as baseline`,
    Schema.decodeUnknown(Begun)
  )
  return baseline === null
    ? yield* refuse({ reason: "LapseOpen" }, { _tag: "command", argv: applyCommand })
    : { baseline, owner: target.owner }
})

/** Records the rows of the next blocks, as far as no writer has locked them. */
const batch = Effect.fnUntraced(function* (
  sql: SqlClient,
  storage: string,
  batchSize: number,
  { baseline, owner }: { readonly baseline: string; readonly owner: string }
) {
  const [next] = yield* runAsOwner(
    sql,
    owner,
    `select n.relation::text, n.label, n.from_block::text as "from", n.to_block::text as "to", n.is_waiting as "isWaiting"
from ${qualified(storage, "baseline_next")}(${baseline}, ${batchSize}) n`,
    Schema.decodeUnknown(Next)
  )
  if (next === undefined) {
    return { ended: true, stillWaiting: false, progress: yield* reached(sql, storage, owner, baseline) }
  }
  const blocks = `t.ctid >= '(${next.from},0)'::tid and t.ctid < '(${next.to},0)'::tid`
  // Skips what a writer has locked: a wait here could end in a deadlock with it.
  const [locked] = yield* Effect.flatMap(
    sql.unsafe(`
select coalesce(array_agg(l.place), '{}')::text as places, count(*)::int as count,
  (select count(*)::int from only ${next.label} t where ${blocks}) as visible
from (select t.ctid as place from only ${next.label} t where ${blocks} for share of t skip locked) l`),
    Schema.decodeUnknown(Locked)
  )
  yield* runAsOwner(
    sql,
    owner,
    `select ${qualified(storage, "baseline_batch")}(
  ${baseline}, ${next.relation}, ${next.from}, ${next.to}, ${next.isWaiting}, ${literal(locked.places)}::tid[], ${locked.visible}
)`,
    Effect.succeed
  )
  return {
    ended: false,
    stillWaiting: next.isWaiting && locked.count < locked.visible,
    progress: yield* reached(sql, storage, owner, baseline)
  }
})

export const recordBaseline = (
  sql: SqlClient,
  storage: string,
  table: Name,
  run: BaselineRun
): Effect.Effect<BaselineResult, Failure> => {
  const refuse: Refuse = (refusal, mend) => new CaptureError({ table: label(table), refusal, mend })

  const loop = Effect.gen(function* () {
    let begun = yield* writing(sql, begin(sql, storage, table, refuse))
    let lastMoved = yield* Clock.currentTimeMillis
    for (;;) {
      const step = yield* Effect.catchIf(writing(sql, batch(sql, storage, run.batchSize, begun)), isOutdated, () =>
        Effect.succeed(undefined)
      )
      if (step === undefined) {
        begun = yield* writing(sql, begin(sql, storage, table, refuse))
        continue
      }
      const { progress } = step
      yield* told(run.onProgress, {
        table: label(table),
        recorded: progress.recorded,
        blocks: progress.blocks,
        blocksDone: progress.done,
        waiting: progress.waiting
      })
      if (step.ended) {
        return { table: label(table), state: "done", recorded: progress.recorded } as const
      }
      const now = yield* Clock.currentTimeMillis
      if (!step.stillWaiting) {
        lastMoved = now
      } else if (now - lastMoved > run.patienceMillis) {
        return { table: label(table), state: "waiting", recorded: progress.recorded } as const
      } else {
        yield* Effect.sleep("50 millis")
      }
    }
  })
  return Effect.mapError(loop, (error) =>
    error instanceof SqlError && sqlState(error) === "42501" && !isRowSecurity(error)
      ? refuse(
          {
            reason: "InsufficientPrivilege",
            lacks: "unknown",
            role: null,
            relation: null,
            owner: null,
            serverMessage: reasonOf(error)
          },
          hostMend("useOwners")
        )
      : fromFailure<CaptureError>(error)
  )
}

/** If row-level security would hide a row, of the host or of the record, the statement fails. */
const writing = <A, E, R>(sql: SqlClient, body: Effect.Effect<A, E, R>) =>
  transaction(sql, beginWriting({ ...settings, row_security: "off" }), body)

/** Runs a statement as the owner of the record. */
const runAsOwner = <A>(
  sql: SqlClient,
  owner: string,
  statement: string,
  decode: (rows: ReadonlyArray<unknown>) => Effect.Effect<A, ParseResult.ParseError>
): Effect.Effect<A, Stored> =>
  Effect.gen(function* () {
    const [remember = "", become = "", middle = "", back = ""] = asOwner(owner, [statement])
    yield* sql.unsafe(remember)
    yield* sql.unsafe(become)
    const rows = yield* sql.unsafe(middle)
    yield* sql.unsafe(back)
    return yield* decode(rows)
  })

const reached = (sql: SqlClient, storage: string, owner: string, baseline: string) =>
  Effect.map(
    runAsOwner(
      sql,
      owner,
      `select b.recorded::text, s.blocks::text, s.done::text, jsonb_array_length(b.waiting) as waiting
from ${qualified(storage, "capture_baselines")} b
cross join lateral (
  select coalesce(sum((e.value ->> 'blocks')::bigint), 0) as blocks, coalesce(sum((e.value ->> 'next')::bigint), 0) as done
  from jsonb_array_elements(b.relations) e
) s
where b.id = ${baseline}`,
      Schema.decodeUnknown(Reached)
    ),
    ([row]) => row
  )

const check = ({ keyed, owner, relations, role }: Target, refuse: Refuse): Effect.Effect<void, CaptureError> => {
  const foreignTable = relations.find((relation) => relation.foreign)
  if (foreignTable !== undefined) {
    return Effect.fail(
      refuse(
        { reason: "BaselineUnsupported", why: "foreign table", relation: foreignTable.relation },
        hostMend("leaveOut", ["the baseline"])
      )
    )
  }
  if (!keyed) {
    return Effect.fail(refuse({ reason: "BaselineUnsupported", why: "no key", relation: null }, hostMend("declareKey")))
  }
  const unread = relations.find(({ reads }) => !reads)
  const unlocked = relations.find(({ locks }) => !locks)
  const lacking = unlocked ?? unread
  return lacking === undefined
    ? Effect.void
    : Effect.fail(
        refuse(
          {
            reason: "InsufficientPrivilege",
            lacks: unlocked === undefined ? "rows" : "lock",
            role,
            relation: lacking.relation,
            owner,
            serverMessage: null
          },
          unlocked === undefined
            ? { _tag: "command", argv: applyCommand }
            : sqlMend([`grant select, update on ${lacking.relation} to ${TableName.quote(role)}`])
        )
      )
}
