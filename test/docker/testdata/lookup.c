// Looks names up as a C program does, by getaddrinfo, both families at once. For each it prints
// "MILLISECONDS NAME ADDRESS…", or the error in the place of the addresses.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

int main(int argc, char **argv) {
	for (int i = 1; i < argc; i++) {
		struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
		struct timespec from, to;
		clock_gettime(CLOCK_MONOTONIC, &from);
		int err = getaddrinfo(argv[i], NULL, &hints, &list);
		clock_gettime(CLOCK_MONOTONIC, &to);
		printf("%ld %s", (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000, argv[i]);
		if (err) printf(" %s", gai_strerror(err));
		for (struct addrinfo *a = list; a; a = a->ai_next) {
			char text[INET6_ADDRSTRLEN] = "?";
			getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
			printf(" %s", text);
		}
		printf("\n");
	}
	return 0;
}
