import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import { type CliError, type ExitCode, failure } from "./exit.js"
import { help } from "./help.js"
import { print, printError } from "./output.js"
import { execute } from "./parser/execute.js"
import { read } from "./parser/read.js"
import { leaves, root } from "./tree.js"

/**
 * Runs one invocation and gives the exit code. It writes through `Console` and reads the environment through `Config`.
 * `Surroundings` has the rest of the process.
 */
export const run = (argv: ReadonlyArray<string>, version: string): Effect.Effect<ExitCode> =>
  Either.match(read(argv, leaves), {
    onLeft: (sentence) => Effect.as(printError(sentence), 2),
    onRight: (invocation): Effect.Effect<ExitCode> => {
      switch (invocation._tag) {
        case "Version":
          return Effect.as(
            print({ wide: true }, () => version),
            0
          )
        case "Help":
          return Effect.as(
            print({ wide: false }, (width) => help(invocation.path, leaves, version, width)),
            0
          )
        case "Run":
          return reported(execute(root, invocation.args))
      }
    }
  })

/** Says in one sentence what went wrong. The library's log is for programs that continue to run. It would come before the sentence. */
const reported = Effect.fnUntraced(function* (command: Effect.Effect<void, CliError>) {
  const exit = yield* command.pipe(Effect.provide(Logger.remove(Logger.defaultLogger)), Effect.exit)
  if (Exit.isSuccess(exit)) {
    return 0
  }
  const error = Cause.failureOption(exit.cause)
  if (Option.isSome(error)) {
    const { code, sentence } = failure(error.value)
    yield* sentence === undefined ? Effect.void : printError(sentence)
    return code
  }
  if (Cause.isInterruptedOnly(exit.cause)) {
    return yield* Effect.interrupt
  }
  yield* printError(`unexpected failure: ${Cause.pretty(exit.cause)}`)
  return 1
})
