/** Which columns are masked otherwise than by a fixed text, so that what stands in an image is shown as the mask that it is. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Health from "../../Health.js"
import type * as Json from "../../Json.js"

export type Mask = "last4" | "hash" | "null"

/** Masks by column of one table. */
export type Masks = ReadonlyMap<string, Mask>

export type MasksByTable = ReadonlyMap<string, Masks>

const isMask = (shown: Health.Shown | null): shown is Mask => shown === "last4" || shown === "hash" || shown === "null"

const masksOf = (policies: ReadonlyArray<Health.PolicyComparison>): MasksByTable =>
  new Map(
    policies.map(({ columns, table }) => [
      table,
      new Map(columns.flatMap(({ column, deployed }) => (isMask(deployed) ? [[column, deployed] as const] : [])))
    ])
  )

/**
 * The mask that a value is, if the policy has one for its column and the value has its form. A value from before the policy is shown
 * as it is.
 */
export const maskOf = (mask: Mask | undefined, value: Json.JsonValue | undefined): Mask | undefined =>
  mask === "null"
    ? value === null
      ? mask
      : undefined
    : typeof value !== "string" || mask === undefined
      ? undefined
      : (mask === "last4" ? /^\*{4}([^]{4})?$/u : /^hmac:[^:]+:[0-9a-f]{64}$/).test(value)
        ? mask
        : undefined

/** Policies change rarely. */
const kept = 30_000

/**
 * Asks for the masks at most every 30 seconds. Only the first page waits, and not long: a page without them shows what is recorded.
 */
export const asking = <E>(policies: Effect.Effect<ReadonlyArray<Health.PolicyComparison>, E>) => {
  let known: MasksByTable = new Map()
  let askedAt = -Infinity
  return (now: number): Effect.Effect<MasksByTable> =>
    Effect.suspend(() => {
      if (now - askedAt < kept) {
        return Effect.succeed(known)
      }
      const isFirst = askedAt === -Infinity
      askedAt = now
      return policies.pipe(
        Effect.map((found) => {
          known = masksOf(found)
        }),
        Effect.ignore,
        Effect.forkDaemon,
        Effect.flatMap((fiber) =>
          isFirst ? Effect.ignore(Effect.timeout(Fiber.await(fiber), "700 millis")) : Effect.void
        ),
        Effect.map(() => known)
      )
    })
}
