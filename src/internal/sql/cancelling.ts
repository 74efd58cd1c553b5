/**
 * Asks the server to cancel what a connection runs, with a cancel request of the protocol. The request has a connection of its
 * own, so it takes none from the pool. It carries the key of the session; a pooler between here and the server passes it on.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { connect, type Socket } from "node:net"

const cancelCode = 80877102

/** How long this may take, in milliseconds. After that no fiber waits for it. */
const patience = 500

interface Session {
  readonly host: string
  readonly port: number
  readonly processID: number
  readonly secretKey: number
}

const isSession = (client: unknown): client is Session =>
  Predicate.hasProperty(client, "host") &&
  typeof client.host === "string" &&
  Predicate.hasProperty(client, "port") &&
  typeof client.port === "number" &&
  Predicate.hasProperty(client, "processID") &&
  typeof client.processID === "number" &&
  Predicate.hasProperty(client, "secretKey") &&
  typeof client.secretKey === "number"

const message = ({ processID, secretKey }: Session): Buffer => {
  const bytes = Buffer.alloc(16)
  bytes.writeInt32BE(16, 0)
  bytes.writeInt32BE(cancelCode, 4)
  bytes.writeInt32BE(processID, 8)
  bytes.writeInt32BE(secretKey, 12)
  return bytes
}

const socketOf = ({ host, port }: Session): Socket =>
  host.startsWith("/") ? connect({ path: `${host}/.s.PGSQL.${port}` }) : connect({ host, port })

/** Ends when the server has taken the request, or when it is clear that it will not. Never fails. */
export const cancelRunning = (client: unknown): Effect.Effect<void> =>
  isSession(client)
    ? Effect.async((resume) => {
        const socket = socketOf(client)
        const end = () => {
          socket.destroy()
          resume(Effect.void)
        }
        socket.setTimeout(patience, end)
        socket.once("error", end)
        // The server answers by closing the connection.
        socket.once("close", end)
        socket.once("connect", () => socket.end(message(client)))
      })
    : Effect.void
