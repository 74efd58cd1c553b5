import * as Command from "@effect/cli/Command"
import type * as Effect from "effect/Effect"
import type * as Types from "effect/Types"
import { type CommandName, commands } from "./commands.js"

/** A command under its name in the list of commands. */
export const leaf = <const Config extends Command.Command.Config, R, E>(
  name: CommandName,
  config: Config,
  handler: (parsed: Types.Simplify<Command.Command.ParseConfig<Config>>) => Effect.Effect<void, E, R>
) => Command.make(name.split(" ").at(-1) ?? name, config, handler).pipe(Command.withDescription(commands[name]))
