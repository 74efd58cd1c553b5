/** What a command takes from its process. Tests replace it. The environment comes through `Config`. */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { resolve } from "node:path"
import { createInterface } from "node:readline"

const writeTo = (stream: NodeJS.WriteStream, text: string | Uint8Array): Effect.Effect<void> =>
  Effect.async((resume) => {
    stream.write(text, () => resume(Effect.void))
  })

/** The question goes to standard error: standard output is for the answer of the command. */
const asking = (question: string): Effect.Effect<boolean> =>
  Effect.async((resume) => {
    const lines = createInterface({ input: process.stdin, output: process.stderr })
    lines.once("close", () => resume(Effect.succeed(false)))
    lines.question(question, (answer) => {
      resume(Effect.succeed(/^y(es)?$/i.test(answer.trim())))
      lines.close()
    })
    return Effect.sync(() => lines.close())
  })

export class Surroundings extends Context.Reference<Surroundings>()("threadline/cli/Surroundings", {
  defaultValue: (): {
    readonly directory: string
    /** The terminal that standard output is, with its columns. */
    readonly terminal: Option.Option<{ readonly columns: number }>
    /** Writes bytes to standard output as they are. Ends when they have left the process. */
    readonly write: (bytes: Uint8Array) => Effect.Effect<void>
    /** Replaces the progress line; an empty one removes it at the end. None if no terminal would show it. */
    readonly status: Option.Option<(line: string) => Effect.Effect<void>>
    /** Asks a person, who may say yes. None if there is no terminal to ask on. */
    readonly ask: Option.Option<(question: string) => Effect.Effect<boolean>>
  } => ({
    directory: process.cwd(),
    terminal: process.stdout.isTTY ? Option.some({ columns: process.stdout.columns || 80 }) : Option.none(),
    write: (bytes) => writeTo(process.stdout, bytes),
    status: process.stderr.isTTY ? Option.some((line) => writeTo(process.stderr, `\r\u001b[2K${line}`)) : Option.none(),
    ask: process.stdin.isTTY && process.stderr.isTTY ? Option.some(asking) : Option.none()
  })
}) {}

/** A variable of the environment, unless it is empty. */
export const variable = (name: string): Effect.Effect<Option.Option<string>> =>
  Effect.option(Config.nonEmptyString(name))

/** Replaces the progress line, if a terminal shows it; an empty one removes it. */
export const showStatus = (line: string): Effect.Effect<void> =>
  Effect.flatMap(Surroundings, ({ status }) =>
    Option.match(status, { onNone: () => Effect.void, onSome: (show) => show(line) })
  )

/** A given path, resolved from the working directory. */
export const pathOf = (path: string): Effect.Effect<string> =>
  Effect.map(Surroundings, ({ directory }) => resolve(directory, path))

export interface Screen {
  /** Columns of a line; infinite if nothing is to be cut. */
  readonly width: number
  readonly colour: boolean
  readonly terminal: boolean
}

const fewest = 40

/** The width of text for people: `COLUMNS`, else the terminal's. Without a limit for a pipe, a file, or if `wide`. */
export const screen = (wide: boolean): Effect.Effect<Screen> =>
  Effect.gen(function* () {
    const { terminal } = yield* Surroundings
    const columns = Option.filterMap(yield* variable("COLUMNS"), (text) =>
      /^[1-9]\d{0,5}$/.test(text) ? Option.some(Number(text)) : Option.none()
    )
    const width = wide
      ? Infinity
      : Option.getOrElse(
          Option.orElse(columns, () => Option.map(terminal, (shown) => shown.columns)),
          () => Infinity
        )
    const plain = Option.isSome(yield* variable("NO_COLOR")) || Option.contains(yield* variable("TERM"), "dumb")
    return {
      width: Math.max(fewest, width),
      colour: Option.isSome(terminal) && !plain,
      terminal: Option.isSome(terminal)
    }
  })
