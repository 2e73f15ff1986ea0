/* Sleeps until it is told to end, and reaps what is reparented to it: the first process of a pod's shared namespaces, and the
 * only program of a guest image that has no shell. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void reap(int signal) {
  (void)signal;
  while (waitpid(-1, 0, WNOHANG) > 0) {
  }
}

static void end(int signal) {
  (void)signal;
  _exit(0);
}

int main(void) {
  /* The first process of a namespace has no default actions: without handlers SIGTERM would be ignored. */
  struct sigaction on_child = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
  struct sigaction on_end = {.sa_handler = end};
  if (sigaction(SIGCHLD, &on_child, 0) || sigaction(SIGTERM, &on_end, 0) || sigaction(SIGINT, &on_end, 0)) {
    return 1;
  }
  for (;;) {
    pause();
  }
}
