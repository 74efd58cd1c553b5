/** What the steps of a purge share. */
import type { Fragment } from "@effect/sql/Statement"
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
  /** Set once everything that the policy speaks of was looked at, and nothing of it was locked. */
  settled: JsonObject | null
  readonly tell: (phase: Progress["phase"]) => Effect.Effect<void>
}

export type WorkError = Enough | RetentionError | ThreadlineError

/** Before each batch: one too many is not begun. */
export const turn = ({ limits, tally }: Work): Effect.Effect<void, Enough> =>
  Effect.suspend(() => (tally.batches >= limits.maxBatches ? Effect.fail(new Enough()) : Effect.void))

/** After a batch that removed something. The pause leaves the disk to others. */
export const done = (work: Work, phase: "changes" | "transactions" | "actions", removed: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    work.tally[phase] += removed
    work.tally.batches++
    return Effect.zipRight(work.tell(phase), Effect.sleep(work.limits.pause))
  })

const TextRow = Schema.Struct({ text: Schema.NullOr(Schema.String) })

/**
 * Notes what is removed at the policies of the tables, so that reads claim nothing of the time before. `removed` gives the names with the
 * first instant and the one after the last.
 */
export const noteRemoved = (storage: Storage, removed: Fragment) =>
  rows(
    TextRow,
    storage.sql`
      select ${storage.name("note_removed")}(x.table_schema, x.table_name, x.first, x.up_to)::text as text
      from (${removed}) x`
  )
