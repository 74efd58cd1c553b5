import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import type * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { run } from "./app.js"

/** Each effect ends when its text has left the process, so that an exit cuts nothing off. */
const writeTo =
  (stream: NodeJS.WriteStream) =>
  (...parts: ReadonlyArray<unknown>): Effect.Effect<void> =>
    Effect.async((resume) => {
      stream.write(`${parts.join(" ")}\n`, () => resume(Effect.void))
    })

const processConsole = Effect.consoleWith((console) =>
  Effect.succeed<Console.Console>({ ...console, log: writeTo(process.stdout), error: writeTo(process.stderr) })
)

/**
 * Runs the program, and ends the process with its exit code. If the command itself did not fail, but its output can no
 * longer be written, the exit code is that of `outputEnded`.
 */
export const start = (argv: ReadonlyArray<string>, version: string, outputEnded: () => number | undefined): void => {
  const program = Effect.flatMap(processConsole, (console) => Effect.withConsole(run(argv, version), console))
  let hungUp = false
  // A terminal that closes ends the work as Ctrl+C does, so that nothing is left of it.
  const hangUp = () => {
    hungUp = true
    process.emit("SIGTERM", "SIGTERM")
  }
  process.on("SIGHUP", hangUp)
  NodeRuntime.runMain(program, {
    disableErrorReporting: true,
    disablePrettyLogger: true,
    // Interrupted by a signal: the exit code is the one that shells report.
    teardown: (exit, onExit) => {
      if (hungUp) {
        // Then the process ends by that signal. Node.js 20 would crash if it exited without its terminal.
        process.off("SIGHUP", hangUp)
        process.kill(process.pid, "SIGHUP")
      }
      onExit(
        Exit.isSuccess(exit) && typeof exit.value === "number"
          ? exit.value || (outputEnded() ?? 0)
          : (outputEnded() ?? 130)
      )
    }
  })
}
