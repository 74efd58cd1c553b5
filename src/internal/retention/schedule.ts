/** When and how retention runs by itself, and the check of that: a mistake is found at the start, and not in the night. */
import * as Cron from "effect/Cron"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { InvalidRequest } from "../../ThreadlineError.js"
import { mustHaveOnly } from "../core/request.js"
import { checkedOptions, optionNames as purgeNames, type PurgeOptions } from "./options.js"
import { checkedPlanOptions, optionNames as planNames, type PlanOptions } from "./plan.js"
import { decode, type Policy } from "./policy.js"

/**
 * When and how retention runs by itself.
 *
 * @since 0.1.0
 * @category models
 */
export interface ScheduleOptions<E = never, R = never> extends PurgeOptions<E, R>, PlanOptions {
  /** What is kept, and for how long. */
  readonly policy: Policy
  /** As `cron` writes it, with five or six fields: `"0 3 * * *"` is three in the morning. */
  readonly cron: string
  /** The zone of the clock, such as `"Europe/Berlin"`; UTC unless given. */
  readonly timeZone?: string | undefined
  /** False if partitions are not to be maintained after each purge. */
  readonly maintain?: boolean | undefined
}

const names = { ...purgeNames, ...planNames, policy: true, cron: true, timeZone: true, maintain: true } as const

const parsed = (cron: unknown, timeZone: unknown): Either.Either<Cron.Cron, InvalidRequest> => {
  if (typeof cron !== "string") {
    return Either.left(new InvalidRequest({ field: "cron", rule: "must be a schedule of cron, as a string" }))
  }
  if (typeof timeZone !== "string") {
    return Either.left(new InvalidRequest({ field: "timeZone", rule: 'must be a time zone, such as "Europe/Berlin"' }))
  }
  return Either.mapLeft(
    Cron.parse(cron, timeZone),
    ({ message }) => new InvalidRequest({ field: "cron", rule: `must be a schedule of cron: ${message}` })
  )
}

export const checkedSchedule = Effect.fnUntraced(function* <E, R>(options: ScheduleOptions<E, R>) {
  yield* mustHaveOnly(options, names)
  const { before, cron, ignoreFeed, maintain = true, policy, timeZone = "UTC", ...purging } = options
  if (typeof maintain !== "boolean") {
    return yield* new InvalidRequest({ field: "maintain", rule: "must be true or false" })
  }
  const planning: PlanOptions = { before, ignoreFeed }
  yield* decode(policy)
  yield* checkedPlanOptions(planning)
  yield* checkedOptions(purging)
  return { schedule: yield* parsed(cron, timeZone), maintains: maintain, planning, policy, purging }
})
