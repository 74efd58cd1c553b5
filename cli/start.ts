import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Exit from "effect/Exit"
import { run } from "./app.js"

/** Runs the program, and ends the process with its exit code. */
export const start = (argv: ReadonlyArray<string>, version: string): void => {
  NodeRuntime.runMain(run(argv, version), {
    disableErrorReporting: true,
    disablePrettyLogger: true,
    // Interrupted by a signal: as shells report it.
    teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) && typeof exit.value === "number" ? exit.value : 130)
  })
}
