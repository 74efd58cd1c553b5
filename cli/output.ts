/** What goes to standard output and standard error, and what a terminal must not get to see. */
import * as Effect from "effect/Effect"
import { type JsonValue, stringify } from "../src/Json.js"

const write = (stream: NodeJS.WriteStream, text: string): Effect.Effect<void> =>
  Effect.async((resume) => {
    // The callback comes when the text has left the process, so that an exit cuts nothing off.
    stream.write(text, () => resume(Effect.void))
  })

const printRaw = (text: string): Effect.Effect<void> =>
  Effect.suspend(() => write(process.stdout, text.endsWith("\n") ? text : `${text}\n`))

/** Prints a text for people, with a final line break. Whatever its parts forgot to make visible, only our own styles get through. */
export const print = (text: string): Effect.Effect<void> =>
  Effect.suspend(() =>
    printRaw(
      text.replaceAll(styleOrUnsafe, (found) =>
        found === "\n" || (found.length > 1 && found.startsWith("\u001b") && colour()) ? found : visible(found)
      )
    )
  )

/** Prints SQL, which has to stay what it is; only on a terminal, where it is looked at, it is made visible. */
export const printSql = (sql: string): Effect.Effect<void> =>
  Effect.suspend(() => (process.stdout.isTTY ? print(sql) : printRaw(sql)))

export const printError = (sentence: string): Effect.Effect<void> =>
  Effect.suspend(() => write(process.stderr, `threadline: ${oneLine(sentence)}\n`))

/** Prints JSON of one or several lines: what a terminal must not see is escaped as JSON has it. */
export const printDocument = (json: string): Effect.Effect<void> =>
  printRaw(
    json.replaceAll(unsafe, (character) =>
      character === "\n"
        ? character
        : Array.from(
            { length: character.length },
            (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`
          ).join("")
    )
  )

/** Prints one document. */
export const printJson = (document: JsonValue): Effect.Effect<void> => printDocument(stringify(document))

/** Characters that would move the cursor, change colours, or turn text around. */
const unsafe = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu

// eslint-disable-next-line no-control-regex -- styles are control characters
const styleOrUnsafe = /\u001b\[(?:1|2|22)m|[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu

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
