/**
 * The contract of a store for the files of jobs.
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { ExportError } from "../exportError.js"

/** What a store may want to know of a file. */
export interface FileFacts {
  /** Such as `text/csv; charset=utf-8`. */
  readonly contentType: string
  /** As in the HTTP header; undefined if the file is not compressed. */
  readonly contentEncoding: string | undefined
}

export interface LinkOptions {
  /** At least a second, at most seven days. */
  readonly expiresIn: Duration.Duration
  /** The name under which a browser saves it. */
  readonly fileName: string
}

export interface Service {
  /**
   * Writes a file under a name of letters, digits, `.` and `-`. The file appears only when it is complete. If writing fails, or
   * the fiber is interrupted, nothing is left of it. An error of the bytes is passed on.
   */
  readonly write: <E>(
    name: string,
    bytes: Stream.Stream<Uint8Array, E>,
    facts: FileFacts
  ) => Effect.Effect<void, E | ExportError>
  /** The bytes of a file. `ExportError` with the reason `Expired` if there is none of that name. */
  readonly read: (name: string) => Stream.Stream<Uint8Array, ExportError>
  /** Removes a file, and whatever is left of an attempt to write it. It is no failure if there is none. */
  readonly remove: (name: string) => Effect.Effect<void, ExportError>
  /** A link that anybody may follow until it expires, without this process. Undefined if the store makes none. */
  readonly link?: ((name: string, options: LinkOptions) => Effect.Effect<string, ExportError>) | undefined
}
