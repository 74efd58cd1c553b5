/** Runs a command through the parser of @effect/cli, without the part that prints: that part prints errors twice, and in colours. */
import * as CliConfig from "@effect/cli/CliConfig"
import type * as Command from "@effect/cli/Command"
import * as CommandDescriptor from "@effect/cli/CommandDescriptor"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Effect from "effect/Effect"
import { UsageError } from "../exit.js"

/** `read` has already refused every mistake of a person, in a sentence of its own. */
const notUnderstood = () =>
  new UsageError({ message: "these arguments are not understood; --help shows which there are" })

const settings = CliConfig.make({ isCaseSensitive: true, showBuiltIns: false, finalCheckBuiltIn: false })

/** Runs the command that `args` name, in the order that `read` gives them. */
export const execute = <A, E, R>(root: Command.Command<"threadline", R, E, A>, args: ReadonlyArray<string>) =>
  CommandDescriptor.parse(root.descriptor, ["threadline", ...args], settings).pipe(
    Effect.mapError(notUnderstood),
    Effect.flatMap((directive): Effect.Effect<void, E | UsageError, R> =>
      directive._tag === "UserDefined" && directive.leftover.length === 0
        ? root.handler(directive.value)
        : notUnderstood()
    ),
    Effect.provide(NodeContext.layer)
  )
