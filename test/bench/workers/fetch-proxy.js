/** The least that a Worker can do with a request: send it on and give back what comes. No token is verified, no tunnel crossed. */
export default {
  fetch(request, env) {
    const { pathname, search } = new URL(request.url);
    return fetch(new Request(env.UPSTREAM + pathname + search, request));
  },
};
