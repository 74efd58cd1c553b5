/**
 * How long the record is kept: a policy, a plan of what would go under it, and purges that do exactly that.
 *
 * Nothing is ever removed unless a policy says so. A purge never removes what a hold names or what a consumer of the feed has not had, never
 * holds up writers, and may end at any point.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import * as Export from "./Export.js"
import * as storage from "./internal/record/storage.js"
import type { MaintainOptions } from "./internal/retention/maintain.js"
import { maintained as maintainedOf, type Maintained, type Plan, type Run } from "./internal/retention/model.js"
import type { Archive, ArchivePart, PurgeOptions } from "./internal/retention/options.js"
import type { PlanError, PlanOptions } from "./internal/retention/plan.js"
import * as policies from "./internal/retention/policy.js"
import type { PurgeError } from "./internal/retention/purge.js"
import { RetentionError } from "./internal/retention/retentionError.js"
import type { RunFilter } from "./internal/retention/runs.js"
import { checkedSchedule, type ScheduleOptions } from "./internal/retention/schedule.js"
import * as service from "./internal/retention/service.js"
import type { Page } from "./Page.js"
import type { InvalidRequest, ThreadlineError } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 */
export { type Hold, type Keep, type Policy } from "./internal/retention/policy.js"

/**
 * @since 0.1.0
 */
export {
  How,
  type Maintained,
  Plan,
  PlanItem,
  PlanPartition,
  type Progress,
  Run,
  State
} from "./internal/retention/model.js"

/**
 * @since 0.1.0
 */
export { type Archive, type Archived, type ArchivePart, type PurgeOptions } from "./internal/retention/options.js"

/**
 * @since 0.1.0
 */
export { type PlanError, type PlanOptions } from "./internal/retention/plan.js"

/**
 * @since 0.1.0
 */
export { type PurgeError } from "./internal/retention/purge.js"

/**
 * @since 0.1.0
 */
export { type MaintainOptions } from "./internal/retention/maintain.js"

/**
 * @since 0.1.0
 */
export { type RunFilter } from "./internal/retention/runs.js"

/**
 * @since 0.1.0
 */
export { type ScheduleOptions } from "./internal/retention/schedule.js"

/**
 * @since 0.1.0
 */
export { Reason, RetentionError, TypeId } from "./internal/retention/retentionError.js"

/**
 * Reads a policy, which may come from a file that was not type-checked. Needs no database. A left names the first field that is wrong, and is
 * what every plan with this policy fails with.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decodePolicy = (policy: unknown): Either.Either<policies.Policy, InvalidRequest> => policies.decode(policy)

/**
 * @since 0.1.0
 * @category services
 */
export interface Service extends service.Service {}

/**
 * Retention. Plans and runs need what reads need; purges and maintenance need membership in the role that owns the record, which no grant of
 * Threadline's gives.
 *
 * @since 0.1.0
 * @category services
 */
export class Retention extends Context.Tag("threadline/Retention")<Retention, Service>() {}

/**
 * Retention in the client's database. Building it asks the database nothing.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Retention, never, SqlClient.SqlClient> = Layer.effect(
  Retention,
  Effect.map(storage.make, service.make)
)

/**
 * What would go now under a policy; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Retention } from "threadline"
 *
 * export const plan = Retention.plan({
 *   keep: "2 weeks",
 *   tables: { "public.invoices": "3650 days" },
 *   holds: [{ actor: { type: "user", id: "42" }, reason: "case 2026-17" }]
 * })
 * ```
 */
export const plan = (
  policy: policies.Policy | undefined,
  options?: PlanOptions
): Effect.Effect<Plan, PlanError, Retention> =>
  Effect.flatMap(Retention, (retention) => retention.plan(policy, options))

/**
 * Removes what a plan says; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Retention } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const purge = Retention.plan({ keep: "365 days" }).pipe(
 *   Effect.flatMap((plan) => Retention.purge(plan, { archive: Retention.archiveTo("/var/archive") }))
 * )
 * ```
 */
export const purge = <E = never, R = never>(
  planned: Plan,
  options?: PurgeOptions<E, R>
): Effect.Effect<Run, E | PurgeError, R | Retention> =>
  Effect.flatMap(Retention, (retention) => retention.purge(planned, options))

/**
 * Runs as they are recorded, newest first.
 *
 * @since 0.1.0
 * @category accessors
 */
export const runs = (filter?: RunFilter): Effect.Effect<Page<Run>, InvalidRequest | ThreadlineError, Retention> =>
  Effect.flatMap(Retention, (retention) => retention.runs(filter))

/**
 * Keeps the partitions of the record in order; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const maintain = (
  options?: MaintainOptions
): Effect.Effect<Run, InvalidRequest | RetentionError | ThreadlineError, Retention> =>
  Effect.flatMap(Retention, (retention) => retention.maintain(options))

/**
 * What a run of maintenance did; nothing for a purge.
 *
 * @since 0.1.0
 * @category conversions
 */
export const maintained = (run: Run): Maintained => maintainedOf(run)

const fileName = ({ month, table }: ArchivePart): string =>
  `${table.replaceAll(/[^A-Za-z0-9_.-]/g, (sign) => `%${(sign.codePointAt(0) ?? 0).toString(16)}`)}-${month}.ndjson.gz`

const archiveFailed = (detail: string) => new RetentionError({ reason: "ArchiveFailed", detail })

/** The file is what its manifest says, and the manifest is the one that was written. So a replacement of both is noticed, too. */
const verified = (path: string, written: Export.Manifest) =>
  Effect.flatMap(Export.verify(path), ({ differences, manifest }) => {
    if (differences.length > 0) {
      return archiveFailed(
        `${path} is not what its manifest says (${differences.map(({ field }) => field).join(", ")})`
      )
    }
    return Option.exists(manifest, ({ sha256 }) => sha256 === written.sha256)
      ? Effect.void
      : archiveFailed(`${path} is another file than the one that was written (sha256 ${written.sha256})`)
  })

/**
 * An archive of files: each part becomes `TABLE-MONTH.ndjson.gz` with its manifest, written by `Export` and verified by its manifest. Once all
 * are written, each is verified again against what was written, before anything goes. It holds every change of the table and month whose time is up, also those that stay because of a hold. A file of an earlier
 * purge is not replaced: give each purge a directory of its own.
 *
 * @since 0.1.0
 * @category archives
 */
export const archiveTo =
  (directory: string): Archive<RetentionError | Export.Failure, Export.Export> =>
  (part) =>
    Effect.gen(function* () {
      const path = join(directory, fileName(part))
      yield* Effect.tryPromise({
        try: () => mkdir(directory, { recursive: true }),
        catch: () => archiveFailed(`the directory ${directory} cannot be made`)
      })
      const manifest = yield* Export.toFile(path, {
        format: "ndjson",
        compression: "gzip",
        filter: { table: part.table, from: part.from, to: part.to }
      })
      const verify = verified(path, manifest)
      yield* verify
      if (manifest.count < part.changes) {
        return yield* archiveFailed(
          `${path} has ${manifest.count} changes, and ${part.changes} would go: what the role may not see cannot be archived`
        )
      }
      return { place: `${path} sha256 ${manifest.sha256}`, verify }
    })

const isBusy = (error: unknown): boolean => RetentionError.is(error) && error.reason === "Busy"

/**
 * Purges and maintains by a clock, as long as the layer lives. On several machines at once each purge runs once: the others find it `Busy` and
 * do nothing. A purge that fails is logged, recorded as failed, and tried again at the next time.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Retention } from "threadline"
 *
 * export const nightly = Retention.layerScheduled({ policy: { keep: "365 days" }, cron: "0 3 * * *", timeZone: "Europe/Berlin" })
 * ```
 */
export const layerScheduled = <E = never, R = never>(
  options: ScheduleOptions<E, R>
): Layer.Layer<never, InvalidRequest, Retention | R> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const { maintains, planning, policy, purging, schedule } = yield* checkedSchedule(options)
      const retention = yield* Retention
      const once = Effect.gen(function* () {
        const planned = yield* retention.plan(policy, planning)
        yield* retention.purge(planned, purging)
        if (maintains) {
          yield* retention.maintain()
        }
      }).pipe(
        Effect.catchIf(isBusy, () => Effect.void),
        Effect.catchAllCause((cause) => Effect.logError("threadline: scheduled retention failed", cause))
      )
      yield* Effect.forkScoped(Effect.schedule(once, Schedule.cron(schedule)))
    })
  )
