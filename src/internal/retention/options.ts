/** The options of a purge, and their check. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Actor from "../../Actor.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import { millis, mustBeFunction, mustHaveOnly } from "../core/request.js"
import type { Progress } from "./model.js"

/**
 * Part of what is about to go: all changes that were recorded under a name in a month and whose time is up. An archive may hold more, but
 * never less.
 *
 * @since 0.1.0
 * @category models
 */
export interface ArchivePart {
  /** The name that the changes were recorded under. */
  readonly table: string
  /** In UTC: `2026-01`. */
  readonly month: string
  /** Instants, both included. */
  readonly from: string
  readonly to: string
  /** How many of them go. */
  readonly changes: number
}

/**
 * Where a part is kept, and how to check that. `verify` runs once all parts are kept, right before anything is removed. If it
 * fails, nothing is removed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Archived<E, R> {
  /** Where it is, in a few words, for the record of the run. */
  readonly place: string
  /** Fails if the archive does not hold what it should. */
  readonly verify: Effect.Effect<void, E, R>
}

/**
 * Keeps a part elsewhere before it goes, and says where, for the record of the run. If it fails, nothing is removed. A string
 * is the place alone: then there is nothing to verify.
 *
 * @since 0.1.0
 * @category models
 */
export type Archive<E, R> = (part: ArchivePart) => Effect.Effect<string | Archived<E, R>, E, R>

/**
 * Options of a purge.
 *
 * @since 0.1.0
 * @category models
 */
export interface PurgeOptions<E = never, R = never> {
  /** Changes, transactions or actions that one transaction removes: 2000 unless given. */
  readonly batchSize?: number | undefined
  /** Stops after so many transactions. A whole partition counts as one. No limit unless given. */
  readonly maxBatches?: number | undefined
  /** Between two batches: four times as long as the last one took, unless given. */
  readonly pause?: Duration.DurationInput | undefined
  /** How long to try for the locks of a partition: 3 seconds unless given. A partition that stays locked is emptied in batches instead. */
  readonly lockTimeout?: Duration.DurationInput | undefined
  /** Who runs it; the actor of `AuditContext` unless given. */
  readonly actor?: Actor.Actor | undefined
  /** Called after each batch. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
  /** Called for each part of the plan before anything is removed. */
  readonly archive?: Archive<E, R> | undefined
}

export interface Limits {
  readonly batchSize: number
  readonly maxBatches: number
  /** In milliseconds; undefined if it depends on what was done. */
  readonly pause: number | undefined
  readonly lockTimeout: number
}

const wholeNumber = (field: string, value: unknown, otherwise: number, most: number) =>
  value === undefined
    ? Effect.succeed(otherwise)
    : typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= most
      ? Effect.succeed(value)
      : Effect.fail(new InvalidRequest({ field, rule: `must be a whole number from 1 to ${most}` }))

export const optionNames = {
  batchSize: true,
  maxBatches: true,
  pause: true,
  lockTimeout: true,
  actor: true,
  onProgress: true,
  archive: true
} as const

const isActor = Schema.is(Actor.Actor)

/** The actor that a caller names. */
export const checkActor = (actor: unknown): Effect.Effect<void, InvalidRequest> =>
  actor === undefined || isActor(actor)
    ? Effect.void
    : Effect.fail(new InvalidRequest({ field: "actor", rule: 'must be an actor, such as { type: "user", id: "42" }' }))

/** How long to try for a lock, in milliseconds. */
export const lockTimeoutOf = ({ lockTimeout = 3000 }: Pick<PurgeOptions, "lockTimeout">) =>
  millis("lockTimeout", lockTimeout)

export const checkedOptions = Effect.fnUntraced(function* <E, R>(
  options: PurgeOptions<E, R>
): Effect.fn.Return<Limits, InvalidRequest> {
  yield* mustHaveOnly(options, optionNames)
  yield* checkActor(options.actor)
  yield* mustBeFunction("onProgress", options.onProgress)
  yield* mustBeFunction("archive", options.archive)
  return {
    batchSize: yield* wholeNumber("batchSize", options.batchSize, 2000, 100_000),
    maxBatches: yield* wholeNumber("maxBatches", options.maxBatches, 1_000_000_000, 1_000_000_000),
    pause: options.pause === undefined ? undefined : yield* millis("pause", options.pause, "nothing"),
    lockTimeout: yield* lockTimeoutOf(options)
  }
})
