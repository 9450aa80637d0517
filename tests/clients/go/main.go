// The client of openapi-generator (go) against a manager.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"dragonfly.test/clients/manager"
)

const name = "client-go"

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func as(token string) context.Context {
	return context.WithValue(context.Background(), manager.ContextAccessToken, token)
}

// Ends the program when something is not as it must be.
func ensure(good bool, surprise string, values ...any) {
	if !good {
		log.Fatalf(surprise, values...)
	}
}

func done(step string, values ...any) {
	fmt.Printf("go: "+step+"\n", values...)
}

// The value of a call that must succeed; with what the manager says is wrong when it does not.
func must[T any](value T, _ *http.Response, err error) T {
	if err != nil {
		log.Fatalf("%v: %+v", err, problem(err))
	}
	return value
}

// What the manager says is wrong; the call must have failed.
func problem(err error) manager.Problem {
	var answer *manager.GenericOpenAPIError
	ensure(errors.As(err, &answer), "no answer of the manager: %v", err)
	said, is := answer.Model().(manager.Problem)
	ensure(is, "no problem: %s", answer.Body())
	return said
}

// Names on all pages, one a page, as the `Link` header leads.
func namesOfPages(clusters *manager.ClustersAPIService, session context.Context) []string {
	names := []string{}
	for page := int64(1); ; page++ {
		found, answer, err := clusters.ListClusters(session).Page(page).PerPage(1).Execute()
		must(found, answer, err)
		ensure(len(found) <= 1, "page %d has %d clusters", page, len(found))
		for _, cluster := range found {
			names = append(names, cluster.Name)
		}
		if !strings.Contains(answer.Header.Get("link"), "rel=next") {
			return names
		}
	}
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("go: ")
	configuration := manager.NewConfiguration()
	configuration.Servers = manager.ServerConfigurations{{URL: env("MANAGER_URL", "http://127.0.0.1:8080")}}
	client := manager.NewAPIClient(configuration)
	accounts, clusters := client.AccountsAPI, client.ClustersAPI

	request := manager.NewSignInRequest("root", env("MANAGER_PASSWORD", "dragonfly"))
	signedIn := must(accounts.SignIn(context.Background()).SignInRequest(*request).Execute())
	ensure(signedIn.User.Name == "root", "signed in as %s", signedIn.User.Name)
	ensure(signedIn.Expire.After(time.Now()), "the session ended at %s", signedIn.Expire)
	session := as(signedIn.Token)
	done("signed in as %s", signedIn.User.Name)

	made := makeAndChange(clusters, session)
	names := namesOfPages(clusters, session)
	ensure(len(names) > 1 && slices.Contains(names, name), "the pages have %v", names)
	done("%d pages of clusters", len(names))

	preheat(client.JobsAPI, session)

	token := useToken(client, session, made.Id)
	_, err := accounts.DeletePersonalAccessToken(session, token.Id).Execute()
	ensure(err == nil, "the token stays: %v", err)
	_, err = clusters.DeleteCluster(session, made.Id).Execute()
	ensure(err == nil, "the cluster stays: %v", err)
	_, _, err = clusters.GetCluster(session, made.Id).Execute()
	ensure(problem(err).Code == manager.CODE_NOT_FOUND, "after deletion: %v", err)
	done("token and cluster deleted")

	_, err = accounts.SignOut(session).Execute()
	ensure(err == nil, "the session stays: %v", err)
	_, _, err = accounts.GetSession(session).Execute()
	ensure(problem(err).Code == manager.CODE_UNAUTHENTICATED, "after signing out: %v", err)
	done("signed out")
}

// A job that is asked for until it ends.
func preheat(jobs *manager.JobsAPIService, session context.Context) {
	args := manager.NewJobArgs()
	args.SetType(manager.JOBSUBJECT_FILE)
	args.SetUrl(env("PREHEAT_URL", "https://example.com/"))
	create := manager.NewCreateJobRequest(manager.JOBTYPE_PREHEAT)
	create.SetArgs(*args)
	job := must(jobs.CreateJob(session).CreateJobRequest(*create).Execute())
	until := time.Now().Add(time.Minute)
	for job.State != manager.JOBSTATE_SUCCESS && job.State != manager.JOBSTATE_FAILURE {
		ensure(time.Now().Before(until), "the job is %s", job.State)
		time.Sleep(100 * time.Millisecond)
		job = must(jobs.GetJob(session, job.Id).Execute())
	}
	ensure(job.State == manager.JOBSTATE_SUCCESS, "the job failed: %v", job.Result)
	_, err := jobs.DeleteJob(session, job.Id).Execute()
	ensure(err == nil, "the job stays: %v", err)
	_, _, err = jobs.GetJob(session, job.Id).Execute()
	ensure(problem(err).Code == manager.CODE_NOT_FOUND, "after deletion: %v", err)
	done("file preheated, job deleted")
}

func makeAndChange(clusters *manager.ClustersAPIService, session context.Context) *manager.Cluster {
	scopes := manager.NewScopes()
	scopes.SetIdc("go-1|go-2")
	scopes.SetCidrs([]string{"10.3.0.0/16"})
	scopes.SetHostnames([]string{"^go-"})
	create := manager.NewCreateClusterRequest(name)
	create.SetBio("made by a test")
	create.SetScopes(*scopes)
	made := must(clusters.CreateCluster(session).CreateClusterRequest(*create).Execute())
	ensure(made.Name == name && slices.Equal(made.Scopes.Cidrs, scopes.Cidrs), "made %+v", made)
	ensure(made.PeerClusterConfig.GetLoadLimit() == 200, "made %+v", made)
	done("cluster %d made", made.Id)

	update := manager.NewUpdateClusterRequest()
	update.SetBio("changed")
	update.SetStrict(true)
	changed := must(clusters.UpdateCluster(session, made.Id).UpdateClusterRequest(*update).Execute())
	ensure(changed.Bio == "changed" && changed.Strict, "changed to %+v", changed)
	ensure(changed.Scopes.GetIdc() == "go-1|go-2", "the change lost the scopes: %+v", changed)
	done("cluster changed")
	return made
}

func useToken(client *manager.APIClient, session context.Context, cluster int64) *manager.PersonalAccessToken {
	request := manager.NewCreatePersonalAccessTokenRequest(name, time.Now().Add(time.Hour))
	request.SetScopes([]manager.Scope{manager.SCOPE_CLUSTER})
	call := client.AccountsAPI.CreatePersonalAccessToken(session)
	token := must(call.CreatePersonalAccessTokenRequest(*request).Execute())
	ensure(token.GetToken() != "", "the new token has no secret")
	read := must(client.ClustersAPI.GetCluster(as(token.GetToken()), cluster).Execute())
	ensure(read.Name == name, "the token read %+v", read)
	_, _, err := client.AccountsAPI.ListUsers(as(token.GetToken())).Execute()
	refused := problem(err).Code
	ensure(refused == manager.CODE_FORBIDDEN || refused == manager.CODE_UNAUTHENTICATED, "refused with %s", refused)
	done("personal access token reads the cluster, and no users: %s", refused)
	return token
}
