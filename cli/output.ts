/** What goes to standard output and standard error, and what a terminal must not get to see. */
import * as Effect from "effect/Effect"
import { type JsonValue, stringify } from "../src/internal/json.js"

const write = (stream: NodeJS.WriteStream, text: string): Effect.Effect<void> =>
  Effect.async((resume) => {
    // The callback comes when the text has left the process, so that an exit cuts nothing off.
    stream.write(text, () => resume(Effect.void))
  })

/** Writes a text as it is, with a final line break. */
export const print = (text: string): Effect.Effect<void> =>
  Effect.suspend(() => write(process.stdout, text.endsWith("\n") ? text : `${text}\n`))

export const printError = (sentence: string): Effect.Effect<void> =>
  Effect.suspend(() => write(process.stderr, `threadline: ${oneLine(sentence)}\n`))

/** Prints one document. */
export const printJson = (document: JsonValue): Effect.Effect<void> => print(stringify(document))

/** Characters that would move the cursor, change colours, or turn text around. */
const unsafe = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu

const escapes: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }

/** A value as a terminal may show it. */
export const visible = (text: string): string =>
  text.replaceAll(unsafe, (character) => escapes[character] ?? `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`)

const oneLine = (text: string): string => visible(text.trim().replaceAll(/\s*[\r\n]+\s*/g, " "))

const colour = (): boolean =>
  process.stdout.isTTY && (process.env["NO_COLOR"] ?? "") === "" && process.env["TERM"] !== "dumb"

const styled =
  (code: number, end: number) =>
  (text: string): string =>
    colour() ? `\u001b[${code}m${text}\u001b[${end}m` : text

export const bold = styled(1, 22)
export const dim = styled(2, 22)

/** Columns of the terminal; 80 where there is none. */
export const width = (): number => (process.stdout.isTTY ? Math.max(40, process.stdout.columns || 80) : 80)

/** Prints a document for `--json`, else a text for people. */
export const answer = (json: boolean, document: () => JsonValue, text: () => string): Effect.Effect<void> =>
  Effect.suspend(() => (json ? printJson(document()) : print(text())))
