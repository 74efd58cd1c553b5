/** Stands for your own session, such as that of Auth.js: it says who is signed in, and nobody else does. */
export interface Session {
  readonly id: string
  readonly name: string
  readonly isStaff: boolean
}

const sessions: Readonly<Record<string, Session>> = {
  "session-of-ann": { id: "7", name: "Ann", isStaff: true },
  "session-of-bob": { id: "8", name: "Bob", isStaff: false }
}

export const sessionOf = (request: Request): Session | undefined => {
  const cookie = /(?:^|;\s*)session=([\w-]+)/.exec(request.headers.get("cookie") ?? "")?.[1]
  return cookie === undefined ? undefined : sessions[cookie]
}
