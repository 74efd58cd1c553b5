import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as CommandDescriptor from "@effect/cli/CommandDescriptor"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Cause from "effect/Cause"
import type * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as HashMap from "effect/HashMap"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Argv from "./argv.js"
import { isCommand } from "./commands.js"
import { capture } from "./commands/capture.js"
import { feed } from "./commands/feed.js"
import { grant } from "./commands/grant.js"
import { init } from "./commands/init.js"
import { migrate } from "./commands/migrate.js"
import { actions, actor, correlation, timeline, transactions, unattributed } from "./commands/listings.js"
import { asOf, history, transaction } from "./commands/reads.js"
import { type ExitCode, failure } from "./exit.js"
import { detail, overview } from "./help.js"
import { print, printError } from "./output.js"

const root = Command.make("threadline").pipe(
  Command.withSubcommands([
    init,
    migrate,
    grant,
    capture,
    timeline,
    transactions,
    history,
    asOf,
    transaction,
    actor,
    correlation,
    actions,
    unattributed,
    feed
  ])
)

const settings = { ...CliConfig.defaultConfig, isCaseSensitive: true, showBuiltIns: false }

const help = (path: ReadonlyArray<string>, version: string): string => {
  const [first = "", second] = path
  const inGroup =
    second === undefined
      ? Command.getSubcommands(root)
      : first === "migrate"
        ? Command.getSubcommands(migrate)
        : Command.getSubcommands(capture)
  const found = isCommand(path) ? HashMap.get(inGroup, second ?? first) : Option.none()
  return Option.match(found, {
    onNone: () => overview(path, version),
    onSome: (descriptor) => detail(path, CommandDescriptor.getHelp(descriptor, settings))
  })
}

/** Runs one invocation; gives the exit code. Everything it has to say is said. */
export const run = (argv: ReadonlyArray<string>, version: string): Effect.Effect<ExitCode> =>
  Either.match(Argv.read(argv), {
    onLeft: (sentence) => Effect.as(printError(sentence), 2),
    onRight: (invocation): Effect.Effect<ExitCode> => {
      switch (invocation._tag) {
        case "Version":
          return Effect.as(print(version), 0)
        case "Help":
          return Effect.as(print(help(invocation.path, version)), 0)
        case "Run":
          return execute(invocation.args, version)
      }
    }
  })

/** The parser speaks through `Console`, in several lines and colours: what it has to say is said here, once. */
const execute = Effect.fnUntraced(function* (args: ReadonlyArray<string>, version: string) {
  const parse = Command.run(root, { name: "threadline", version, executable: "threadline" })
  const silent = yield* Effect.consoleWith((console) =>
    Effect.succeed<Console.Console>({ ...console, log: () => Effect.void, error: () => Effect.void })
  )
  const exit = yield* parse(["node", "threadline", ...args]).pipe(
    Effect.withConsole(silent),
    Effect.provide(Layer.merge(NodeContext.layer, CliConfig.layer(settings))),
    Effect.exit
  )
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
