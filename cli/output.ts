/** Writes to standard output and standard error, and keeps dangerous characters from the terminal. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { type JsonValue, stringify } from "../src/Json.js"
import { screen, Surroundings } from "./surroundings.js"

/** The console adds a line break to what it prints. */
const withoutLast = (text: string): string => (text.endsWith("\n") ? text.slice(0, -1) : text)

/** The width of text for people. `--wide` sets no limit. */
export interface Room {
  readonly wide: boolean
}

/** A text as a whole, or its lines, each of which is made when the one before it is printed. */
export type Lines = string | Iterable<string>

const linesOf = (text: Lines): Iterable<string> => (typeof text === "string" ? [withoutLast(text)] : text)

/** Prints a text for people, made for the given width. Even if a part of it was not made safe, only our own styles reach the terminal. */
export const print = (room: Room, text: (width: number) => Lines): Effect.Effect<void> =>
  Effect.flatMap(screen(room.wide), ({ colour, width }) =>
    eachOf(linesOf(text(width)), (line) =>
      Console.log(
        line.replaceAll(unsafe, (character) =>
          character === "\n" ? character : isStyle(character) ? (colour ? styles[character] : "") : visible(character)
        )
      )
    )
  )

/** One after the other. The next one is made when the one before is done. */
const eachOf = (parts: Iterable<string>, use: (part: string) => Effect.Effect<void>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const iterator = parts[Symbol.iterator]()
    const next: Effect.Effect<void> = Effect.suspend(() => {
      const step = iterator.next()
      return step.done === true ? Effect.void : Effect.zipRight(use(step.value), next)
    })
    return next
  })

/** Prints SQL or a script unchanged. Only on a terminal, control characters are made visible. */
export const printSource = (sql: string): Effect.Effect<void> =>
  Effect.flatMap(screen(true), ({ terminal }) =>
    terminal ? print({ wide: true }, () => sql) : Console.log(withoutLast(sql))
  )

export const printError = (sentence: string): Effect.Effect<void> => Console.error(`threadline: ${oneLine(sentence)}`)

const escaped = (json: string): string =>
  json.replaceAll(unsafe, (character) =>
    character === "\n"
      ? character
      : Array.from(
          { length: character.length },
          (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`
        ).join("")
  )

/** Prints JSON of one or several lines. Characters that are dangerous for a terminal are escaped as in JSON. */
export const printDocument = (json: string): Effect.Effect<void> => Console.log(escaped(withoutLast(json)))

/** Prints JSON that comes in pieces: it may be longer than any string. */
export const printPieces = (pieces: Iterable<string>): Effect.Effect<void> =>
  Effect.flatMap(Surroundings, ({ write }) =>
    Effect.zipRight(
      eachOf(pieces, (piece) => write(Buffer.from(escaped(piece)))),
      write(Buffer.from("\n"))
    )
  )

/** Prints one document. */
export const printJson = (document: JsonValue): Effect.Effect<void> => printDocument(stringify(document))

// Styles are marked by characters that Unicode reserves for a program's own use. Printed values never hold them.
const styles = { "\ufdd0": "\u001b[1m", "\ufdd1": "\u001b[2m", "\ufdd2": "\u001b[22m" } as const

const isStyle = (character: string): character is keyof typeof styles => character in styles

export const bold = (text: string): string => `\ufdd0${text}\ufdd2`

export const dim = (text: string): string => `\ufdd1${text}\ufdd2`

/** Characters that would move the cursor, change colours, or reverse the direction of text, and the marks of styles. */
const unsafe = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\ufdd0-\ufdd2]/gu

const escapes: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }

/** A value as a terminal may show it. */
export const visible = (text: string): string =>
  text.replaceAll(unsafe, (character) => escapes[character] ?? `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`)

const oneLine = (text: string): string => visible(text.trim().replaceAll(/\s*[\r\n]+\s*/g, " "))

/** The form of an answer: one JSON document, or text for people. */
export interface Form extends Room {
  readonly json: boolean
}

/** Prints a document for `--json`, else a text for people. */
export const answer = (form: Form, document: () => JsonValue, text: (width: number) => Lines): Effect.Effect<void> =>
  answerExact(form, () => stringify(document()), text)

/** Like `answer`, for a document that is JSON text already, as a whole or in pieces. */
export const answerExact = (form: Form, document: () => Lines, text: (width: number) => Lines): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (!form.json) {
      return print(form, text)
    }
    const json = document()
    return typeof json === "string" ? printDocument(json) : printPieces(json)
  })
