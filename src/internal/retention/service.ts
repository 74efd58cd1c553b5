/** The service of retention: each member under a span. */
import type * as Effect from "effect/Effect"
import { operation } from "../core/telemetry.js"
import type { Page } from "../../Page.js"
import type { InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import type { Storage } from "../record/storage.js"
import { maintain, type MaintainOptions } from "./maintain.js"
import type { Plan, Run } from "./model.js"
import type { PurgeOptions } from "./options.js"
import { plan, type PlanError, type PlanOptions } from "./plan.js"
import type { Policy } from "./policy.js"
import { purge, type PurgeError } from "./purge.js"
import type { RetentionError } from "./retentionError.js"
import { type RunFilter, runs } from "./runs.js"

export interface Service {
  /**
   * What would go now under a policy, exactly: by table and month, and how. Nothing is locked or changed. It reads everything whose time is up,
   * so it takes as long as counting that does. Without a policy it fails with `NotConfigured`. A table or row that nothing knows is
   * `NotFound`: it may be misspelt.
   */
  readonly plan: (policy: Policy | undefined, options?: PlanOptions) => Effect.Effect<Plan, PlanError>
  /**
   * Removes what a plan says, and nothing else: whole partitions at once, the rest in batches with pauses, then transactions that have no
   * change left, then actions. It needs membership in the role that owns the record. It may end at any point, and whatever is removed by then
   * is complete: no change is ever left without its transaction. A later plan and purge go on.
   *
   * One runner at a time: another one gets `Busy`. `archive` is called for each part first, and if it fails nothing is removed.
   */
  readonly purge: <E = never, R = never>(
    plan: Plan,
    options?: PurgeOptions<E, R>
  ) => Effect.Effect<Run, E | PurgeError, R>
  /** Runs as they are recorded, newest first. */
  readonly runs: (filter?: RunFilter) => Effect.Effect<Page<Run>, InvalidRequest | ThreadlineError>
  /**
   * Makes partitions ahead, moves changes out of the default partition into one of their own, analyses closed partitions, and rebuilds
   * (concurrently) those of their indexes that are half empty. Needs membership in the role that owns the record.
   */
  readonly maintain: (
    options?: MaintainOptions
  ) => Effect.Effect<Run, InvalidRequest | RetentionError | ThreadlineError>
}

export const make = (storage: Storage): Service => ({
  plan: (policy, options = {}) => operation("retention", "plan")(plan(storage, policy, options)),
  purge: (planned, options = {}) => operation("retention", "purge")(purge(storage, planned, options)),
  runs: (filter = {}) => operation("retention", "runs")(runs(storage, filter)),
  maintain: (options = {}) => operation("retention", "maintain")(maintain(storage, options))
})
