/** Option values that are not arbitrary strings. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Suggestion from "../src/Suggestion.js"
import { UsageError } from "./exit.js"

/** A whole number between bounds, both included, or undefined if the option is not given. */
export const wholeNumber = (
  option: string,
  text: Option.Option<string>,
  minimum = 0,
  maximum = 999_999_999
): Effect.Effect<number | undefined, UsageError> =>
  Option.match(text, {
    onNone: () => Effect.succeed(undefined),
    onSome: (digits) =>
      /^\d{1,9}$/.test(digits) && Number(digits) >= minimum && Number(digits) <= maximum
        ? Effect.succeed(Number(digits))
        : Effect.fail(new UsageError({ message: `${option} is a whole number from ${minimum} to ${maximum}` }))
  })

/** One of a few words, or undefined if the option is not given. */
export const oneOf = <A extends string>(
  option: string,
  words: ReadonlyArray<A>,
  text: Option.Option<string>
): Effect.Effect<A | undefined, UsageError> => {
  if (Option.isNone(text)) {
    return Effect.succeed(undefined)
  }
  const match = words.find((word) => word === text.value)
  return match === undefined
    ? Effect.fail(
        new UsageError({
          message: Suggestion.withSuggestion(
            `${option} is one of ${words.join(", ")}`,
            Suggestion.nearest(text.value, words)
          )
        })
      )
    : Effect.succeed(match)
}
