/** Writes to standard output and standard error, and keeps dangerous characters from the terminal. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { type JsonValue, stringify } from "../src/Json.js"
import { screen } from "./surroundings.js"

/** The console adds a line break to what it prints. */
const withoutLast = (text: string): string => (text.endsWith("\n") ? text.slice(0, -1) : text)

/** The width of text for people. `--wide` sets no limit. */
export interface Room {
  readonly wide: boolean
}

/** Prints a text for people, made for the given width. Even if a part of it was not made safe, only our own styles reach the terminal. */
export const print = (room: Room, text: (width: number) => string): Effect.Effect<void> =>
  Effect.flatMap(screen(room.wide), ({ colour, width }) =>
    Console.log(
      withoutLast(text(width)).replaceAll(unsafe, (character) =>
        character === "\n" ? character : isStyle(character) ? (colour ? styles[character] : "") : visible(character)
      )
    )
  )

/** Prints SQL or a script unchanged. Only on a terminal, control characters are made visible. */
export const printSource = (sql: string): Effect.Effect<void> =>
  Effect.flatMap(screen(true), ({ terminal }) =>
    terminal ? print({ wide: true }, () => sql) : Console.log(withoutLast(sql))
  )

export const printError = (sentence: string): Effect.Effect<void> => Console.error(`threadline: ${oneLine(sentence)}`)

/** Prints JSON of one or several lines. Characters that are dangerous for a terminal are escaped as in JSON. */
export const printDocument = (json: string): Effect.Effect<void> =>
  Console.log(
    withoutLast(json).replaceAll(unsafe, (character) =>
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

// Styles are marked by characters that Unicode reserves for a program's own use. Printed values never hold them.
const styles = { "\ufdd0": "\u001b[1m", "\ufdd1": "\u001b[2m", "\ufdd2": "\u001b[22m" } as const

const isStyle = (character: string): character is keyof typeof styles => character in styles

export const bold = (text: string): string => `\ufdd0${text}\ufdd2`

export const dim = (text: string): string => `\ufdd1${text}\ufdd2`

/** Characters that would move the cursor, change colours, or turn text around, and the marks of styles. */
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
export const answer = (form: Form, document: () => JsonValue, text: (width: number) => string): Effect.Effect<void> =>
  answerExact(form, () => stringify(document()), text)

/** The same, for a document that is JSON text already. */
export const answerExact = (form: Form, document: () => string, text: (width: number) => string): Effect.Effect<void> =>
  Effect.suspend(() => (form.json ? printDocument(document()) : print(form, text)))
