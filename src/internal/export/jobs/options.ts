/**
 * What a host decides about jobs.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Actor } from "../../../Actor.js"
import { InvalidRequest } from "../../../ThreadlineError.js"
import { longestLease } from "../../core/limits.js"
import { mustBeObject, mustHaveOnly } from "../../core/request.js"
import type { ReadScope } from "../../record/scope.js"
import type { Job, NamedScope } from "./model.js"

export interface Limits {
  /** The most jobs of one actor that wait or run. The default is 20. */
  readonly waitingPerActor?: number | undefined
  /** The most bytes of one file. By default there is no limit. */
  readonly bytes?: number | undefined
}

export interface Options {
  /**
   * Makes a scope from a name and its parameters. It is called when a job is queued, and again before the job runs. It returns none if the
   * actor may not read under the scope, or no longer may. Without this option no job has a scope.
   */
  readonly scope?:
    ((scope: NamedScope, requestedBy: Actor | undefined) => Effect.Effect<Option.Option<ReadScope>>) | undefined
  /** If true, a job needs a scope, and callers see only the jobs of the scope that they name. */
  readonly scopeRequired?: boolean | undefined
  /** False to record no action of a job. */
  readonly record?: boolean | undefined
  /** How many jobs of one actor may wait or run, and how large a file may become. */
  readonly limits?: Limits | undefined
  /** The attempts of a job, 1 to 100. The default is 3. */
  readonly attempts?: number | undefined
  /** The wait after the first failed attempt. It doubles after each further one, up to an hour. The default is 10 seconds. */
  readonly backoff?: Duration.DurationInput | undefined
  /** How long a dead worker keeps its job: 1 second to a day. The default is 30 seconds. */
  readonly lease?: Duration.DurationInput | undefined
  /** How long a file is kept. The default is 7 days. */
  readonly expiresAfter?: Duration.DurationInput | undefined
  /** How long a job is kept after it has ended and its file is gone: 365 days unless given. The record keeps its actions. */
  readonly forgetAfter?: Duration.DurationInput | undefined
  /** Links to files that this process serves: see `link`. */
  readonly links?: { readonly url: string; readonly key: string } | undefined
  /** Called when a job of this process was completed or has failed. If the call fails, that is logged. */
  readonly onSettled?: ((job: Job) => Effect.Effect<void, unknown>) | undefined
}

/** The options with defaults filled in. */
export interface Decided {
  readonly scope: Options["scope"]
  readonly scopeRequired: boolean
  readonly record: boolean
  readonly waitingPerActor: number
  readonly bytes: number
  readonly attempts: number
  readonly backoffSeconds: number
  readonly leaseSeconds: number
  readonly keepSeconds: number
  readonly forgetSeconds: number
  readonly links: Options["links"]
  readonly onSettled: Options["onSettled"]
}

const secondsOf = (
  field: string,
  given: Duration.DurationInput,
  least: number,
  most: number
): Effect.Effect<number, InvalidRequest> => {
  const seconds = Option.match(Duration.decodeUnknown(given), { onNone: () => Number.NaN, onSome: Duration.toSeconds })
  return seconds >= least && seconds <= most
    ? Effect.succeed(seconds)
    : Effect.fail(new InvalidRequest({ field, rule: `must be a duration from ${least} to ${most} seconds` }))
}

const countOf = (
  field: string,
  given: number,
  most = Number.MAX_SAFE_INTEGER
): Effect.Effect<number, InvalidRequest> =>
  Number.isSafeInteger(given) && given >= 1 && given <= most
    ? Effect.succeed(given)
    : Effect.fail(new InvalidRequest({ field, rule: `must be a whole number from 1 to ${most}` }))

const fieldRules = {
  scope: true,
  scopeRequired: true,
  record: true,
  limits: true,
  attempts: true,
  backoff: true,
  lease: true,
  expiresAfter: true,
  forgetAfter: true,
  links: true,
  onSettled: true
} as const satisfies { readonly [Field in keyof Required<Options>]: true }

const shortestKey = 16

/** Ten years. */
const longest = 3650 * 86_400

const checkLinks = (links: Options["links"]): Effect.Effect<void, InvalidRequest> =>
  links === undefined
    ? Effect.void
    : typeof links.url !== "string" || !URL.canParse(links.url)
      ? Effect.fail(new InvalidRequest({ field: "links.url", rule: "must be an absolute URL" }))
      : typeof links.key !== "string" || links.key.length < shortestKey
        ? Effect.fail(
            new InvalidRequest({ field: "links.key", rule: `must be a secret of at least ${shortestKey} characters` })
          )
        : Effect.void

export const decide = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<Decided, InvalidRequest> {
  yield* mustHaveOnly(options, fieldRules)
  const { limits = {}, links } = options
  yield* mustBeObject(limits, "limits")
  yield* checkLinks(links)
  return {
    scope: options.scope,
    scopeRequired: options.scopeRequired ?? false,
    record: options.record ?? true,
    waitingPerActor: yield* countOf("limits.waitingPerActor", limits.waitingPerActor ?? 20, 2 ** 31 - 1),
    bytes: limits.bytes === undefined ? Infinity : yield* countOf("limits.bytes", limits.bytes),
    attempts: yield* countOf("attempts", options.attempts ?? 3, 100),
    backoffSeconds: yield* secondsOf("backoff", options.backoff ?? "10 seconds", 0, 3600),
    leaseSeconds: yield* secondsOf("lease", options.lease ?? "30 seconds", 1, longestLease),
    keepSeconds: yield* secondsOf("expiresAfter", options.expiresAfter ?? "7 days", 0, longest),
    forgetSeconds: yield* secondsOf("forgetAfter", options.forgetAfter ?? "365 days", 0, longest),
    links,
    onSettled: options.onSettled
  }
})
