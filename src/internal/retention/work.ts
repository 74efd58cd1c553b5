/** What the steps of a purge share. */
import type { Fragment } from "@effect/sql/Statement"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { rows, type Storage } from "../record/storage.js"
import type { JsonObject } from "../core/jsonValue.js"
import type { Conditions } from "./conditions.js"
import type { Plan, Progress } from "./model.js"
import type { Limits } from "./options.js"
import type { RetentionError } from "./retentionError.js"
import type { Lease } from "./runs.js"
import type { Unseen } from "./unseen.js"

/** Ends the work of a run that has done as many batches as it may. */
export class Enough {
  readonly _tag = "Enough"
}

export interface Work {
  readonly storage: Storage
  readonly conditions: Conditions
  readonly plan: Plan
  readonly lease: Lease
  readonly limits: Limits
  readonly tally: { changes: number; transactions: number; actions: number; batches: number }
  /** Set once everything that the policy covers was looked at, and nothing of it was locked. */
  settled: JsonObject | null
  /** The epoch in which the run began. */
  readonly epoch: number
  /** What must stay because it was committed after the plan, as far as the last statement knew. */
  unseen: Unseen
  readonly tell: (phase: Progress["phase"]) => Effect.Effect<void>
}

type Phase = "changes" | "transactions" | "actions"

export type WorkError = Enough | RetentionError | ThreadlineError

/** Called before each batch: ends the work if the run has done as many as it may. */
export const turn = ({ limits, tally }: Work): Effect.Effect<void, Enough> =>
  Effect.suspend(() => (tally.batches >= limits.maxBatches ? Effect.fail(new Enough()) : Effect.void))

/** Unless a pause is given, it is so many times as long as the batch before it. */
const restful = 4

/**
 * How many rows a transaction removed, and how many rows of runs it updated: none, although it removed something, if the lease
 * is lost.
 */
export interface Outcome {
  readonly removed: number
  readonly counted: number
}

/** One transaction of the work, and the pause that leaves the processor and the disk to others. */
export const batch = <A extends Outcome, E, R>(
  work: Work,
  phase: Phase,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.flatMap(Effect.timed(body), ([took, outcome]) => {
    const { limits, tally, tell } = work
    tally[phase] += outcome.removed
    tally.batches += outcome.counted
    return (outcome.counted > 0 ? tell(phase) : Effect.void).pipe(
      Effect.zipRight(Effect.sleep(limits.pause ?? Duration.times(took, restful))),
      Effect.as(outcome)
    )
  })

const TextRow = Schema.Struct({ text: Schema.NullOr(Schema.String) })

/**
 * Notes what is removed at the policies of the tables, so that reads claim nothing of the time before. `removed` gives the names with the
 * first instant and the one after the last.
 */
export const noting = ({ name, sql }: Storage, removed: Fragment): Fragment => sql`
  select ${name("note_removed")}(x.table_schema, x.table_name, x.first, x.up_to)::text as text
  from (${removed}) x`

export const noteRemoved = (storage: Storage, removed: Fragment) =>
  rows(TextRow, storage.sql`${noting(storage, removed)}`)
